package main

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha512"
	"errors"
	"fmt"
	"strconv"

	"github.com/segmentio/kafka-go"
)

func (c *segment) createTopic(name string, partitions, replicas int) error {
	r, err := within(func(ctx context.Context) (*kafka.CreateTopicsResponse, error) {
		return c.cl.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: name, NumPartitions: partitions, ReplicationFactor: replicas}}})
	})
	if err != nil {
		return err
	}
	return r.Errors[name]
}

func (c *segment) deleteTopic(name string) error {
	r, err := within(func(ctx context.Context) (*kafka.DeleteTopicsResponse, error) {
		return c.cl.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{name}})
	})
	if err != nil {
		return err
	}
	return r.Errors[name]
}

// metadata of all topics if none is named.
func (c *segment) metadata(topics ...string) (*kafka.MetadataResponse, error) {
	return within(func(ctx context.Context) (*kafka.MetadataResponse, error) {
		return c.cl.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
	})
}

func (c *segment) topics() (all []string, err error) {
	md, err := c.metadata()
	if err != nil {
		return nil, err
	}
	for _, t := range md.Topics {
		all = append(all, t.Name)
	}
	return all, nil
}

func (c *segment) partitions(topic string) (all []partition, err error) {
	md, err := c.metadata(topic)
	if err != nil {
		return nil, err
	}
	if len(md.Topics) != 1 {
		return nil, fmt.Errorf("%d topics", len(md.Topics))
	}
	t := md.Topics[0]
	for _, p := range t.Partitions {
		all = append(all, partition{leader: int32(p.Leader.ID), replicas: len(p.Replicas), isr: len(p.Isr)})
	}
	return all, t.Error
}

func (c *segment) addPartitions(topic string, total int) error {
	r, err := within(func(ctx context.Context) (*kafka.CreatePartitionsResponse, error) {
		return c.cl.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: int32(total)}}})
	})
	if err != nil {
		return err
	}
	return r.Errors[topic]
}

func (c *segment) configs(kind kafka.ResourceType, name string) ([]kafka.DescribeConfigResponseConfigEntry, error) {
	r, err := within(func(ctx context.Context) (*kafka.DescribeConfigsResponse, error) {
		return c.cl.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kind, ResourceName: name}}, IncludeSynonyms: true, IncludeDocumentation: true})
	})
	if err == nil && len(r.Resources) != 1 {
		err = fmt.Errorf("%d resources", len(r.Resources))
	}
	if err != nil {
		return nil, err
	}
	return r.Resources[0].ConfigEntries, r.Resources[0].Error
}

func (c *segment) topicConfig(topic, key string) (string, error) {
	all, err := c.configs(kafka.ResourceTypeTopic, topic)
	for _, e := range all {
		if e.ConfigName == key {
			return e.ConfigValue, err
		}
	}
	return "", err
}

func (c *segment) brokerConfigs(node int32) (int, error) {
	all, err := c.configs(kafka.ResourceTypeBroker, strconv.Itoa(int(node)))
	return len(all), err
}

func (c *segment) setTopicConfig(topic, key string, value *string) error {
	change := kafka.IncrementalAlterConfigsRequestConfig{Name: key, ConfigOperation: kafka.ConfigOperationDelete}
	if value != nil {
		change.ConfigOperation, change.Value = kafka.ConfigOperationSet, *value
	}
	r, err := within(func(ctx context.Context) (*kafka.IncrementalAlterConfigsResponse, error) {
		return c.cl.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{
			{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, Configs: []kafka.IncrementalAlterConfigsRequestConfig{change}},
		}})
	})
	if err != nil {
		return err
	}
	for _, res := range r.Resources {
		err = errors.Join(err, res.Error)
	}
	return err
}

func (c *segment) cluster() (cluster, error) {
	md, err := c.metadata()
	if err != nil {
		return cluster{}, err
	}
	return cluster{nodes: len(md.Brokers), controller: int32(md.Controller.ID), id: md.ClusterID}, nil
}

func (c *segment) deleteRecords(string, int32, int64) error { return noCall }

// addUser does what the client leaves to who calls it: salting the password.
func (c *segment) addUser(user, password string) error {
	salt := []byte("salt of 16 bytes")
	salted, err := pbkdf2.Key(sha512.New, password, salt, 4096, sha512.Size)
	if err != nil {
		return err
	}
	r, err := within(func(ctx context.Context) (*kafka.AlterUserScramCredentialsResponse, error) {
		return c.cl.AlterUserScramCredentials(ctx, &kafka.AlterUserScramCredentialsRequest{
			Upsertions: []kafka.UserScramCredentialsUpsertion{{Name: user, Mechanism: kafka.ScramMechanismSha512, Iterations: 4096, Salt: salt, SaltedPassword: salted}},
		})
	})
	if err != nil {
		return err
	}
	for _, u := range r.Results {
		err = errors.Join(err, u.Error)
	}
	return err
}

func (c *segment) credentials(user string) (n int, err error) {
	r, err := within(func(ctx context.Context) (*kafka.DescribeUserScramCredentialsResponse, error) {
		return c.cl.DescribeUserScramCredentials(ctx, &kafka.DescribeUserScramCredentialsRequest{Users: []kafka.UserScramCredentialsUser{{Name: user}}})
	})
	if err != nil {
		return 0, err
	}
	for _, u := range r.Results {
		n += len(u.CredentialInfos)
		err = errors.Join(err, u.Error)
	}
	return n, errors.Join(err, r.Error)
}

func (c *segment) allowWrite(topic, user string) error {
	r, err := within(func(ctx context.Context) (*kafka.CreateACLsResponse, error) {
		return c.cl.CreateACLs(ctx, &kafka.CreateACLsRequest{ACLs: []kafka.ACLEntry{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ResourcePatternType: kafka.PatternTypeLiteral,
			Principal: "User:" + user, Host: "*", Operation: kafka.ACLOperationTypeWrite, PermissionType: kafka.ACLPermissionTypeAllow,
		}}})
	})
	if err != nil {
		return err
	}
	return errors.Join(r.Errors...)
}

func (c *segment) allowed(topic, user string) (n int, err error) {
	r, err := within(func(ctx context.Context) (*kafka.DescribeACLsResponse, error) {
		return c.cl.DescribeACLs(ctx, &kafka.DescribeACLsRequest{Filter: kafka.ACLFilter{
			ResourceTypeFilter: kafka.ResourceTypeTopic, ResourceNameFilter: topic, ResourcePatternTypeFilter: kafka.PatternTypeLiteral,
			PrincipalFilter: "User:" + user, HostFilter: "*", Operation: kafka.ACLOperationTypeWrite, PermissionType: kafka.ACLPermissionTypeAllow,
		}})
	})
	if err != nil {
		return 0, err
	}
	for _, res := range r.Resources {
		n += len(res.ACLs)
	}
	return n, r.Error
}

func (c *segment) disallowWrite(topic, user string) (n int, err error) {
	r, err := within(func(ctx context.Context) (*kafka.DeleteACLsResponse, error) {
		return c.cl.DeleteACLs(ctx, &kafka.DeleteACLsRequest{Filters: []kafka.DeleteACLsFilter{{
			ResourceTypeFilter: kafka.ResourceTypeTopic, ResourceNameFilter: topic, ResourcePatternTypeFilter: kafka.PatternTypeLiteral,
			PrincipalFilter: "User:" + user, HostFilter: "*", Operation: kafka.ACLOperationTypeWrite, PermissionType: kafka.ACLPermissionTypeAllow,
		}}})
	})
	if err != nil {
		return 0, err
	}
	for _, res := range r.Results {
		n += len(res.MatchingACLs)
		err = errors.Join(err, res.Error)
	}
	return n, err
}
