package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"
)

// A login is where a client connects to, and as whom. Without a mechanism it does not log in, without roots there is no TLS.
type login struct {
	seeds                     []string
	roots                     string // a PEM file
	mechanism, user, password string // mechanism: SCRAM-SHA-256, SCRAM-SHA-512, PLAIN
}

// tls is nil if there is none.
func (l login) tls() (*tls.Config, error) {
	if l.roots == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(l.roots)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem) // of a file without a certificate no node is trusted, as it should be
	return &tls.Config{RootCAs: pool}, nil
}

// A client is one library with one login. A method that the library has no call for returns noCall. Errors of the broker have a code.
type client interface {
	recordCalls
	groupCalls
	adminCalls
	accessCalls
	// code is the broker's error code in err; 0 if there is none.
	code(err error) int16
	close()
}

// Codes of the broker's errors.
const (
	unknownTopic       = 3
	invalidTopic       = 17
	topicAuthorization = 29
	invalidPartitions  = 37
	invalidReplication = 38
	invalidConfig      = 40
	saslAuthentication = 58
	groupIDNotFound    = 69
)

// Times that are none; timeGreatest asks for the record with the greatest timestamp.
const (
	timeLatest   = -1
	timeEarliest = -2
	timeGreatest = -3
)

// Protocols of groups.
const (
	classic = "classic"
	kip848  = "consumer"
)

type record struct {
	topic     string
	partition int32
	offset    int64
	key       []byte
	value     []byte
	headers   []header
	at        time.Time
}

type header struct {
	key   string
	value []byte
}

// sending is how a producer sends. All wait for all replicas in sync.
type sending struct {
	codec      string // none, gzip, snappy, lz4, zstd; "" is the client's own choice
	idempotent bool   // noCall if the client can not
	small      bool   // batches of about 50 records
}

type producer interface {
	// send queues a record; acked is called once, by any goroutine.
	send(r record, acked func(error))
	// close waits for what is queued.
	close() error
}

type recordCalls interface {
	producer(sending) (producer, error)
	// offset is that of the first record at or after a time in ms, or of timeEarliest, timeLatest, timeGreatest.
	offset(topic string, partition int32, at int64) (int64, error)
	// read reads the records of a partition from an offset up to one that exists and is not read.
	read(topic string, partition int32, from, to int64) ([]record, error)
}

type member interface {
	// assigned is how many partitions the member has.
	assigned() int
	// leave commits what has been read and leaves the group.
	leave() error
}

type groupCalls interface {
	// join has a new member call got for each record, from any goroutine, and commit it afterwards.
	join(group, protocol, topic string, got func(record)) (member, error)
	groups() ([]string, error)
	// members is how many the group has.
	members(group, protocol string) (int, error)
	// committed has -1 for a partition without an offset.
	committed(group, topic string, partitions int) ([]int64, error)
	commit(group, topic string, partition int32, offset int64) error
	deleteGroup(group string) error
}

type partition struct {
	leader        int32 // -1 if there is none
	replicas, isr int
}

type cluster struct {
	nodes      int
	controller int32
	id         string // "" if the client does not tell
}

type adminCalls interface {
	createTopic(name string, partitions, replicas int) error
	deleteTopic(name string) error
	// topics asks for the metadata of all topics.
	topics() ([]string, error)
	partitions(topic string) ([]partition, error)
	addPartitions(topic string, total int) error
	topicConfig(topic, key string) (string, error)
	// brokerConfigs is how many settings a broker has.
	brokerConfigs(node int32) (int, error)
	// setTopicConfig without a value takes the setting away.
	setTopicConfig(topic, key string, value *string) error
	cluster() (cluster, error)
	deleteRecords(topic string, partition int32, before int64) error
}

type accessCalls interface {
	// addUser makes a user with SCRAM-SHA-512.
	addUser(user, password string) error
	// credentials is how many a user has.
	credentials(user string) (int, error)
	// allowWrite makes an ACL, allowed and disallowWrite tell how many there are, and were.
	allowWrite(topic, user string) error
	allowed(topic, user string) (int, error)
	disallowWrite(topic, user string) (int, error)
}

// wantCode says what is wrong if err has not that code of the broker.
func wantCode(c client, err error, code int16) error {
	if got := c.code(err); got != code {
		return fmt.Errorf("code %d, want %d: %w", got, code, orNothing(err))
	}
	return nil
}

func orNothing(err error) error {
	if err == nil {
		return errors.New("no error")
	}
	return err
}
