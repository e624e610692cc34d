package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/IBM/sarama"
)

func (c *ibm) createTopic(name string, partitions, replicas int) error {
	return c.adm.CreateTopic(name, &sarama.TopicDetail{NumPartitions: int32(partitions), ReplicationFactor: int16(replicas)}, false)
}

func (c *ibm) deleteTopic(name string) error { return c.adm.DeleteTopic(name) }

func (c *ibm) topics() ([]string, error) {
	if err := c.cl.RefreshMetadata(); err != nil {
		return nil, err
	}
	return c.cl.Topics()
}

func (c *ibm) partitions(topic string) (all []partition, err error) {
	d, err := c.adm.DescribeTopics([]string{topic})
	if err != nil {
		return nil, err
	}
	if len(d) != 1 {
		return nil, fmt.Errorf("%d topics", len(d))
	}
	for _, p := range d[0].Partitions {
		all = append(all, partition{leader: p.Leader, replicas: len(p.Replicas), isr: len(p.Isr)})
	}
	return all, saramaError(d[0].Err)
}

func (c *ibm) addPartitions(topic string, total int) error {
	return c.adm.CreatePartitions(topic, int32(total), nil, false)
}

func (c *ibm) configs(kind sarama.ConfigResourceType, name string) ([]sarama.ConfigEntry, error) {
	r, err := c.adm.DescribeConfigs([]*sarama.ConfigResource{{Type: kind, Name: name}}, sarama.DescribeConfigsOptions{IncludeSynonyms: true, IncludeDocumentation: true})
	if err == nil && len(r) != 1 {
		err = fmt.Errorf("%d resources", len(r))
	}
	if err != nil {
		return nil, err
	}
	return r[0].Configs, saramaError(r[0].ErrorCode)
}

func (c *ibm) topicConfig(topic, key string) (string, error) {
	all, err := c.configs(sarama.TopicResource, topic)
	for _, e := range all {
		if e.Name == key {
			return e.Value, err
		}
	}
	return "", err
}

func (c *ibm) brokerConfigs(node int32) (int, error) {
	all, err := c.configs(sarama.BrokerResource, strconv.Itoa(int(node)))
	return len(all), err
}

func (c *ibm) setTopicConfig(topic, key string, value *string) error {
	change := sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationSet, Value: value}
	if value == nil {
		change.Operation = sarama.IncrementalAlterConfigsOperationDelete
	}
	return c.adm.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{key: change}, false)
}

func (c *ibm) cluster() (cluster, error) {
	nodes, controller, err := c.adm.DescribeCluster()
	return cluster{nodes: len(nodes), controller: controller}, err
}

func (c *ibm) deleteRecords(topic string, partition int32, before int64) error {
	return c.adm.DeleteRecords(topic, map[int32]int64{partition: before})
}

func (c *ibm) addUser(user, password string) error {
	rs, err := c.adm.UpsertUserScramCredentials([]sarama.AlterUserScramCredentialsUpsert{
		{Name: user, Mechanism: sarama.SCRAM_MECHANISM_SHA_512, Iterations: 4096, Salt: []byte("salt of 16 bytes"), Password: []byte(password)},
	})
	for _, r := range rs {
		err = errors.Join(err, saramaError(r.ErrorCode))
	}
	return err
}

func (c *ibm) credentials(user string) (n int, err error) {
	rs, err := c.adm.DescribeUserScramCredentials([]string{user})
	for _, r := range rs {
		n += len(r.CredentialInfos)
		err = errors.Join(err, saramaError(r.ErrorCode))
	}
	return n, err
}

func (c *ibm) allowWrite(topic, user string) error {
	return c.adm.CreateACLs([]*sarama.ResourceAcls{{
		Resource: sarama.Resource{ResourceType: sarama.AclResourceTopic, ResourceName: topic, ResourcePatternType: sarama.AclPatternLiteral},
		Acls:     []*sarama.Acl{{Principal: "User:" + user, Host: "*", Operation: sarama.AclOperationWrite, PermissionType: sarama.AclPermissionAllow}},
	}})
}

func writeFilter(topic, user string) sarama.AclFilter {
	principal, host := "User:"+user, "*"
	return sarama.AclFilter{
		Version: 1, ResourceType: sarama.AclResourceTopic, ResourceName: &topic, ResourcePatternTypeFilter: sarama.AclPatternLiteral,
		Principal: &principal, Host: &host, Operation: sarama.AclOperationWrite, PermissionType: sarama.AclPermissionAllow,
	}
}

func (c *ibm) allowed(topic, user string) (n int, err error) {
	rs, err := c.adm.ListAcls(writeFilter(topic, user))
	for _, r := range rs {
		n += len(r.Acls)
	}
	return n, err
}

func (c *ibm) disallowWrite(topic, user string) (n int, err error) {
	rs, err := c.adm.DeleteACL(writeFilter(topic, user), false)
	for _, r := range rs {
		err = errors.Join(err, saramaError(r.Err))
	}
	return len(rs), err
}
