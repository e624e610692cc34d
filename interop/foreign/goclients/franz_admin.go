package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
)

func (c *franz) createTopic(name string, partitions, replicas int) error {
	_, err := within(func(ctx context.Context) (kadm.CreateTopicResponse, error) {
		return c.adm.CreateTopic(ctx, int32(partitions), int16(replicas), nil, name)
	})
	return err
}

func (c *franz) deleteTopic(name string) error {
	_, err := within(func(ctx context.Context) (kadm.DeleteTopicResponse, error) { return c.adm.DeleteTopic(ctx, name) })
	return err
}

func (c *franz) topics() ([]string, error) {
	m, err := within(func(ctx context.Context) (kadm.Metadata, error) { return c.adm.Metadata(ctx) })
	return m.Topics.Names(), err
}

func (c *franz) partitions(topic string) (all []partition, err error) {
	m, err := within(func(ctx context.Context) (kadm.Metadata, error) { return c.adm.Metadata(ctx, topic) })
	if err != nil {
		return nil, err
	}
	t := m.Topics[topic]
	for _, p := range t.Partitions.Sorted() {
		all = append(all, partition{leader: p.Leader, replicas: len(p.Replicas), isr: len(p.ISR)})
	}
	return all, t.Err
}

func (c *franz) addPartitions(topic string, total int) error {
	r, err := within(func(ctx context.Context) (kadm.CreatePartitionsResponses, error) {
		return c.adm.UpdatePartitions(ctx, total, topic)
	})
	return errors.Join(err, r[topic].Err)
}

// one is the config of the one resource that was asked for.
func one(rs kadm.ResourceConfigs, err error) (kadm.ResourceConfig, error) {
	if err == nil && len(rs) != 1 {
		err = fmt.Errorf("%d resources", len(rs))
	}
	if err != nil {
		return kadm.ResourceConfig{}, err
	}
	return rs[0], rs[0].Err
}

func (c *franz) topicConfig(topic, key string) (string, error) {
	r, err := one(within(func(ctx context.Context) (kadm.ResourceConfigs, error) { return c.adm.DescribeTopicConfigs(ctx, topic) }))
	for _, e := range r.Configs {
		if e.Key == key && e.Value != nil {
			return *e.Value, err
		}
	}
	return "", err
}

func (c *franz) brokerConfigs(node int32) (int, error) {
	r, err := one(within(func(ctx context.Context) (kadm.ResourceConfigs, error) { return c.adm.DescribeBrokerConfigs(ctx, node) }))
	return len(r.Configs), err
}

func (c *franz) setTopicConfig(topic, key string, value *string) error {
	change := kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: value}
	if value == nil {
		change.Op = kadm.DeleteConfig
	}
	rs, err := within(func(ctx context.Context) (kadm.AlterConfigsResponses, error) {
		return c.adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{change}, topic)
	})
	if err != nil {
		return err
	}
	r, err := rs.On(topic, nil)
	return errors.Join(err, r.Err)
}

func (c *franz) cluster() (cluster, error) {
	m, err := within(func(ctx context.Context) (kadm.Metadata, error) { return c.adm.BrokerMetadata(ctx) })
	return cluster{nodes: len(m.Brokers), controller: m.Controller, id: m.Cluster}, err
}

func (c *franz) deleteRecords(topic string, partition int32, before int64) error {
	var o kadm.Offsets
	o.AddOffset(topic, partition, before, -1)
	r, err := within(func(ctx context.Context) (kadm.DeleteRecordsResponses, error) { return c.adm.DeleteRecords(ctx, o) })
	if err == nil {
		err = r.Error()
	}
	return err
}

func (c *franz) addUser(user, password string) error {
	r, err := within(func(ctx context.Context) (kadm.AlteredUserSCRAMs, error) {
		return c.adm.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: user, Mechanism: kadm.ScramSha512, Iterations: 4096, Password: password}})
	})
	return errors.Join(err, r[user].Err)
}

func (c *franz) credentials(user string) (int, error) {
	r, err := within(func(ctx context.Context) (kadm.DescribedUserSCRAMs, error) {
		return c.adm.DescribeUserSCRAMs(ctx, user)
	})
	return len(r[user].CredInfos), errors.Join(err, r[user].Err)
}

func writeACL(topic, user string) *kadm.ACLBuilder {
	return kadm.NewACLs().Topics(topic).ResourcePatternType(kadm.ACLPatternLiteral).Allow("User:" + user).AllowHosts("*").Operations(kadm.OpWrite)
}

func (c *franz) allowWrite(topic, user string) error {
	rs, err := within(func(ctx context.Context) (kadm.CreateACLsResults, error) {
		return c.adm.CreateACLs(ctx, writeACL(topic, user))
	})
	if err == nil && len(rs) != 1 {
		err = errors.New(strconv.Itoa(len(rs)) + " results")
	}
	for _, r := range rs {
		err = errors.Join(err, r.Err)
	}
	return err
}

func (c *franz) allowed(topic, user string) (n int, err error) {
	rs, err := within(func(ctx context.Context) (kadm.DescribeACLsResults, error) {
		return c.adm.DescribeACLs(ctx, writeACL(topic, user))
	})
	for _, r := range rs {
		n += len(r.Described)
		err = errors.Join(err, r.Err)
	}
	return n, err
}

func (c *franz) disallowWrite(topic, user string) (n int, err error) {
	rs, err := within(func(ctx context.Context) (kadm.DeleteACLsResults, error) {
		return c.adm.DeleteACLs(ctx, writeACL(topic, user))
	})
	for _, r := range rs {
		n += len(r.Deleted)
		err = errors.Join(err, r.Err)
	}
	return n, err
}
