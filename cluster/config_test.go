package cluster

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConfigZeroValueIsValid(t *testing.T) {
	c := Config{}.withDefaults()
	require.NoError(t, c.validate())
	assert.Equal(t, int32(1), c.NodeID)
	assert.Equal(t, 2*time.Second, c.HeartbeatInterval)
	assert.Equal(t, 9*time.Second, c.SessionTimeout)
	assert.Equal(t, time.Second, c.ElectionTimeout)
	assert.Equal(t, 30*time.Second, c.ReplicaLagTime)
}

func TestConfigReportsAllProblemsAtOnce(t *testing.T) {
	c := Config{
		NodeID: 4, Listen: "0.0.0.0:9092", Advertise: "nowhere",
		Voters:         []Voter{{ID: 1, Addr: "a:1"}, {ID: 1, Addr: "b"}, {ID: -2, Addr: "c:1"}},
		SessionTimeout: time.Second, HeartbeatInterval: time.Second,
		Topic: TopicDefaults{ReplicationFactor: 2, MinInSyncReplicas: 3, SegmentBytes: 100, FlushInterval: -1},
	}.withDefaults()
	err := c.validate()
	require.Error(t, err)
	for _, want := range []string{
		`Listen "0.0.0.0:9092": it is beyond loopback and plain: set Security and a Network with TLS, or Insecure`,
		`Advertise "nowhere": want host:port`,
		`Voters[1]: ID 1 is there twice`,
		`Voters[1]: address "b": want host:port`,
		`Voters[2]: ID -2 is not positive`,
		`NodeID 4 is not among the Voters`,
		`SessionTimeout 1s is not above HeartbeatInterval 1s`,
		`MinInSyncReplicas 3 is above ReplicationFactor 2`,
		`SegmentBytes 100 is below 1 MiB`,
		`FlushInterval -1ns is negative`,
	} {
		assert.ErrorContains(t, err, want)
	}
}

func TestConfigListenRules(t *testing.T) {
	for _, tc := range []struct {
		name   string
		config Config
		want   string // "" is valid
	}{
		{"loopback", Config{Listen: "127.0.0.1:0"}, ""},
		{"loopback by name", Config{Listen: "localhost:9092"}, ""},
		{"loopback v6", Config{Listen: "[::1]:9092"}, ""},
		{"every interface", Config{Listen: ":9092"}, "beyond loopback"},
		{"every interface, asked for", Config{Listen: ":9092", Insecure: true}, ""},
		{"no port", Config{Listen: "127.0.0.1"}, "want host:port"},
		{"several voters without a listener", Config{Voters: []Voter{{1, "a:1"}, {2, "b:1"}}}, "does not listen"},
		{"join without a listener", Config{Join: []string{"a:1"}}, "does not listen"},
		{"join through a name without a port", Config{Listen: "127.0.0.1:0", Join: []string{"a"}}, `Join[0]: address "a": want host:port`},
		{"join and found", Config{Listen: "127.0.0.1:0", Join: []string{"a:1"}, Voters: []Voter{{1, "b:1"}}}, "Join and Voters are both set"},
		{"join", Config{NodeID: 2, Listen: "127.0.0.1:0", Join: []string{"a:1"}}, ""},
		{"join with authentication, but no secret", Config{NodeID: 2, Listen: "127.0.0.1:0", Join: []string{"a:1"}, Security: &Security{SASL: []string{SASLScramSHA256}}}, "set PeerSecret or PeerCertificates"},
		{"advertised without a listener", Config{Advertise: "a:1"}, "without Listen"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := tc.config.withDefaults()
			err := c.validate()
			if tc.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tc.want)
			}
		})
	}
}

// What an application sets must reach DescribeConfigs and the broker under Kafka's names, and nothing else must.
func TestConfigStaticNames(t *testing.T) {
	c := Config{}.withDefaults()
	assert.Equal(t, map[string]string{
		"node.id": "1", "auto.create.topics.enable": "false",
		"broker.heartbeat.interval.ms": "2000", "broker.session.timeout.ms": "9000", "controller.quorum.election.timeout.ms": "1000", "replica.lag.time.max.ms": "30000",
	}, c.static())
	c.Topic = TopicDefaults{Partitions: 3, ReplicationFactor: 2, MinInSyncReplicas: 1, FlushMessages: -1, FlushInterval: time.Second, SegmentBytes: 1 << 20, RetentionAge: -1, RetentionBytes: 5, MaxMessageBytes: 7}
	c.Rack = "r"
	s := c.static()
	for k, want := range map[string]string{
		"num.partitions": "3", "default.replication.factor": "2", "min.insync.replicas": "1", "log.flush.interval.messages": "9223372036854775807", "log.flush.interval.ms": "1000",
		"log.segment.bytes": "1048576", "log.retention.ms": "-1", "log.retention.bytes": "5", "message.max.bytes": "7", "broker.rack": "r",
	} {
		assert.Equal(t, want, s[k], k)
	}
}
