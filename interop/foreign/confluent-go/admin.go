package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// wantCode says what is wrong if err is not the error with that code.
func wantCode(err error, code kafka.ErrorCode) error {
	if e, ok := errors.AsType[kafka.Error](err); ok && e.Code() == code {
		return nil
	}
	return fmt.Errorf("got %v, want %v", err, code)
}

func create(spec kafka.TopicSpecification) error {
	r, err := admin.CreateTopics(soon(), []kafka.TopicSpecification{spec})
	if err != nil {
		return err
	}
	return r[0].Error
}

func adminTopics() (string, error) {
	t, err := topic("admin", 2)
	if err != nil {
		return "", err
	}
	d, err := admin.DescribeTopics(soon(), kafka.NewTopicCollectionOfTopicNames([]string{t}), kafka.SetAdminOptionIncludeAuthorizedOperations(true))
	if err != nil {
		return "", err
	}
	if x := d.TopicDescriptions[0]; x.Error.Code() != kafka.ErrNoError || len(x.Partitions) != 2 || len(x.Partitions[0].Replicas) != 3 || x.TopicID.String() == "" {
		return "", fmt.Errorf("described as %+v", x)
	}
	gone, err := admin.DeleteTopics(soon(), []string{t})
	if err != nil || gone[0].Error.Code() != kafka.ErrNoError {
		return "", fmt.Errorf("delete: %v, %w", gone, err)
	}
	return "", errors.Join(
		wantCode(create(kafka.TopicSpecification{Topic: "bad name", NumPartitions: 1, ReplicationFactor: 1}), kafka.ErrTopicException),
		wantCode(create(kafka.TopicSpecification{Topic: t + "x", NumPartitions: 1, ReplicationFactor: 9}), kafka.ErrInvalidReplicationFactor),
		await("the topic is gone", func() (bool, error) {
			md, err := admin.GetMetadata(&t, false, 10000)
			if err != nil {
				return false, err
			}
			return md.Topics[t].Error.Code() == kafka.ErrUnknownTopicOrPart, nil
		}),
	)
}

// metadataAll asks for all topics, as Consumer.Subscribe with a pattern does.
func metadataAll() (string, error) {
	t, err := topic("all", 1)
	if err != nil {
		return "", err
	}
	// A client of its own: where it fails, connections of others must not.
	p, err := kafka.NewProducer(config(nil))
	if err != nil {
		return "", err
	}
	defer p.Close()
	md, err := p.GetMetadata(nil, true, 5000)
	if err != nil {
		return "", err
	}
	if _, ok := md.Topics[t]; !ok {
		return "", fmt.Errorf("%d topics without %s", len(md.Topics), t)
	}
	return fmt.Sprint(len(md.Topics), " topics"), nil
}

func adminPartitions() (string, error) {
	t, err := topic("partitions", 1)
	if err != nil {
		return "", err
	}
	r, err := admin.CreatePartitions(soon(), []kafka.PartitionsSpecification{{Topic: t, IncreaseTo: 3}})
	if err != nil || r[0].Error.Code() != kafka.ErrNoError {
		return "", fmt.Errorf("%v: %w", r, err)
	}
	if err := await("three partitions with leaders", func() (bool, error) {
		md, err := admin.GetMetadata(&t, false, 10000)
		if err != nil {
			return false, err
		}
		p := md.Topics[t].Partitions
		return len(p) == 3 && !slices.ContainsFunc(p, func(p kafka.PartitionMetadata) bool { return p.Leader < 0 }), nil
	}); err != nil {
		return "", err
	}
	r, err = admin.CreatePartitions(soon(), []kafka.PartitionsSpecification{{Topic: t, IncreaseTo: 2}})
	if err != nil {
		return "", err
	}
	if err := wantCode(r[0].Error, kafka.ErrInvalidPartitions); err != nil {
		return "", err
	}
	if _, err := send(nil, numbered(t, 3, 0, 30), nil); err != nil {
		return "", err
	}
	all, err := readAll(t, 3)
	if err == nil && len(all) != 30 {
		err = fmt.Errorf("%d of 30 records", len(all))
	}
	return "", err
}

func adminConfigs() (string, error) {
	t, err := topic("configs", 1)
	if err != nil {
		return "", err
	}
	set := func(op kafka.AlterConfigOpType, v string) error {
		r, err := admin.IncrementalAlterConfigs(soon(), []kafka.ConfigResource{{Type: kafka.ResourceTopic, Name: t, Config: []kafka.ConfigEntry{{Name: "retention.ms", Value: v, IncrementalOperation: op}}}})
		if err != nil {
			return err
		}
		if r[0].Error.Code() != kafka.ErrNoError {
			return r[0].Error
		}
		return nil
	}
	is := func(v string) error {
		return await("retention.ms="+v, func() (bool, error) {
			r, err := admin.DescribeConfigs(soon(), []kafka.ConfigResource{{Type: kafka.ResourceTopic, Name: t}})
			return err == nil && r[0].Config["retention.ms"].Value == v, err
		})
	}
	if err := errors.Join(is("604800000"), set(kafka.AlterConfigOpTypeSet, "12345"), is("12345"), set(kafka.AlterConfigOpTypeDelete, ""), is("604800000")); err != nil {
		return "", err
	}
	if err := wantCode(set(kafka.AlterConfigOpTypeSet, "soon"), kafka.ErrInvalidConfig); err != nil {
		return "", err
	}
	r, err := admin.DescribeConfigs(soon(), []kafka.ConfigResource{{Type: kafka.ResourceBroker, Name: "1"}})
	if err == nil && len(r[0].Config) == 0 {
		err = errors.New("no broker settings")
	}
	return "", err
}

func adminGroups() (string, error) {
	if lastGroup == "" {
		return "", errors.New("no group before")
	}
	l, err := admin.ListConsumerGroups(soon())
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(l.Valid, func(g kafka.ConsumerGroupListing) bool { return g.GroupID == lastGroup }) {
		return "", fmt.Errorf("not listed: %v", l)
	}
	tp := kafka.TopicPartition{Topic: &lastTopic, Partition: 1, Offset: 7}
	if err := await("offsets of the empty group can be altered", func() (bool, error) {
		r, err := admin.AlterConsumerGroupOffsets(soon(), []kafka.ConsumerGroupTopicPartitions{{Group: lastGroup, Partitions: []kafka.TopicPartition{tp}}})
		if err != nil {
			return false, err
		}
		e := r.ConsumerGroupsTopicPartitions[0].Partitions[0].Error
		return e == nil, e
	}); err != nil {
		return "", err
	}
	r, err := admin.ListConsumerGroupOffsets(soon(), []kafka.ConsumerGroupTopicPartitions{{Group: lastGroup, Partitions: []kafka.TopicPartition{tp}}})
	if err != nil || r.ConsumerGroupsTopicPartitions[0].Partitions[0].Offset != 7 {
		return "", fmt.Errorf("offset not altered: %v, %w", r, err)
	}
	d, err := admin.DeleteConsumerGroups(soon(), []string{lastGroup})
	if err != nil || d.ConsumerGroupResults[0].Error.Code() != kafka.ErrNoError {
		return "", fmt.Errorf("delete: %v, %w", d, err)
	}
	d, err = admin.DeleteConsumerGroups(soon(), []string{lastGroup})
	if err != nil {
		return "", err
	}
	return "", wantCode(d.ConsumerGroupResults[0].Error, kafka.ErrGroupIDNotFound)
}

func adminCluster() (string, error) {
	d, err := admin.DescribeCluster(soon(), kafka.SetAdminOptionIncludeAuthorizedOperations(true))
	if err != nil {
		return "", err
	}
	if len(d.Nodes) != 3 || d.Controller == nil || d.ClusterID == nil || *d.ClusterID == "" {
		return "", fmt.Errorf("%+v", d)
	}
	id, err := admin.ControllerID(soon())
	if err == nil && id <= 0 {
		err = fmt.Errorf("controller %d", id)
	}
	return "", err
}

func adminRecords() (string, error) {
	t, err := topic("records", 1)
	if err != nil {
		return "", err
	}
	if _, err := send(nil, numbered(t, 1, 0, 100), nil); err != nil {
		return "", err
	}
	r, err := admin.DeleteRecords(soon(), []kafka.TopicPartition{{Topic: &t, Partition: 0, Offset: 40}})
	if err != nil || r.DeleteRecordsResults[0].TopicPartition.Error != nil {
		return "", fmt.Errorf("%v: %w", r, err)
	}
	all, err := readAll(t, 1)
	if err == nil && (len(all) != 60 || all[0].TopicPartition.Offset != 40) {
		err = fmt.Errorf("%d records", len(all))
	}
	return "", err
}

func adminAccess() (string, error) {
	if !secure {
		return "", skip("logins are off")
	}
	t, err := topic("acl", 1)
	if err != nil {
		return "", err
	}
	bob := strings.TrimSuffix(prefix, "-") + "-bob"
	u, err := admin.AlterUserScramCredentials(soon(), []kafka.UserScramCredentialUpsertion{{User: bob, ScramCredentialInfo: kafka.ScramCredentialInfo{Mechanism: kafka.ScramMechanismSHA512, Iterations: 4096}, Password: []byte("builder")}}, nil)
	if err != nil || u.Errors[bob].Code() != kafka.ErrNoError {
		return "", fmt.Errorf("user: %v, %w", u, err)
	}
	known, err := admin.DescribeUserScramCredentials(soon(), []string{bob})
	if err != nil || len(known.Descriptions[bob].ScramCredentialInfos) != 1 {
		return "", fmt.Errorf("user: %v, %w", known, err)
	}
	write := func() error {
		_, err := send(kafka.ConfigMap{"sasl.username": bob, "sasl.password": "builder", "message.timeout.ms": 10000}, []*kafka.Message{message(t, 0, "k", "v")}, nil)
		return err
	}
	if err := wantCode(write(), kafka.ErrTopicAuthorizationFailed); err != nil {
		return "", err
	}
	allow := kafka.ACLBinding{Type: kafka.ResourceTopic, Name: t, ResourcePatternType: kafka.ResourcePatternTypeLiteral, Principal: "User:" + bob, Host: "*", Operation: kafka.ACLOperationWrite, PermissionType: kafka.ACLPermissionTypeAllow}
	c, err := admin.CreateACLs(soon(), kafka.ACLBindings{allow})
	if err != nil || c[0].Error.Code() != kafka.ErrNoError {
		return "", fmt.Errorf("create: %v, %w", c, err)
	}
	d, err := admin.DescribeACLs(soon(), allow)
	if err != nil || len(d.ACLBindings) != 1 {
		return "", fmt.Errorf("describe: %v, %w", d, err)
	}
	if err := await("bob may write", func() (bool, error) { err := write(); return err == nil, err }); err != nil {
		return "", err
	}
	gone, err := admin.DeleteACLs(soon(), kafka.ACLBindingFilters{allow})
	if err == nil && len(gone[0].ACLBindings) != 1 {
		err = fmt.Errorf("delete: %v", gone)
	}
	return "", err
}

// login asks for metadata with other credentials.
func login(extra kafka.ConfigMap, patience time.Duration) (err, seen error) {
	c := config(kafka.ConfigMap{"log_level": 0})
	maps.Copy(*c, extra)
	p, err := kafka.NewProducer(c)
	if err != nil {
		return err, nil
	}
	defer p.Close()
	unknown := prefix + "unknown"
	_, err = p.GetMetadata(&unknown, false, int(patience.Milliseconds()))
	for {
		select {
		case e := <-p.Events():
			if e, ok := e.(kafka.Error); ok && e.Code() != kafka.ErrAllBrokersDown {
				seen = e
			}
			continue
		case <-time.After(500 * time.Millisecond):
		}
		return err, seen
	}
}

func loginRight() (string, error) {
	if !secure {
		return "", skip("logins are off")
	}
	for _, m := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"} {
		if err, seen := login(kafka.ConfigMap{"sasl.mechanism": m}, 10*time.Second); err != nil {
			return "", fmt.Errorf("%s: %w, %w", m, err, seen)
		}
	}
	return "SCRAM-SHA-256, SCRAM-SHA-512, PLAIN", nil
}

func loginWrong() (string, error) {
	if !secure {
		return "", skip("logins are off")
	}
	for _, m := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"} {
		err, seen := login(kafka.ConfigMap{"sasl.mechanism": m, "sasl.password": "wrong"}, 3*time.Second)
		if err == nil {
			return "", fmt.Errorf("%s: logged in with a wrong password", m)
		}
		if err := wantCode(seen, kafka.ErrAuthentication); err != nil {
			return "", fmt.Errorf("%s: %w", m, err)
		}
	}
	// Without the root the certificate must not be taken.
	err, seen := login(kafka.ConfigMap{"ssl.ca.location": os.DevNull}, 3*time.Second)
	if err == nil {
		return "", errors.New("connected to a node with an unknown certificate")
	}
	_ = seen
	return "_AUTHENTICATION", nil
}
