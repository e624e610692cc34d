package clustertest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/cluster/clustertest"
	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const peerSecret = "a secret of sixteen bytes, and more"

// secured is a cluster of three nodes that know each other by a secret, and clients by SCRAM, PLAIN or a token.
func secured(t *testing.T) *clustertest.Cluster {
	return clustertest.New(t, clustertest.Config{Nodes: 3, Node: func(c *cluster.Config) {
		c.AutoCreateTopics = false
		c.Security = &cluster.Security{
			SASL: []string{cluster.SASLScramSHA256, cluster.SASLPlain, cluster.SASLOAuthBearer}, Passwords: map[string]string{"ops": "ops-secret"}, PeerSecret: peerSecret,
			OAuthBearer: func(_ context.Context, token string, _ map[string]string) (string, time.Time, error) {
				if token != "good" {
					return "", time.Time{}, errors.New("not a good token")
				}
				return "bearer", time.Now().Add(time.Minute), nil
			},
			Authorization: &cluster.Authorization{SuperUsers: []string{"User:ops"}},
		}
	}})
}

func credentials(t *testing.T) func(c transport.Credentials, err error) transport.Credentials {
	return func(c transport.Credentials, err error) transport.Credentials {
		t.Helper()
		require.NoError(t, err)
		return c
	}
}

// as is a client over the network.
func as(t *testing.T, tc *clustertest.Cluster, c transport.Credentials) *transport.Client {
	t.Helper()
	client, err := transport.NewClient(transport.ClientConfig{Bootstrap: tc.Addrs(), Network: tc.Network().Host("client"), Credentials: c, RequestTimeout: 5 * time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	return client
}

func produceAs(t *testing.T, client *transport.Client, topic, value string) error {
	t.Helper()
	p, err := producer.New(producer.Config{Client: client, DeliveryTimeout: 20 * time.Second})
	require.NoError(t, err)
	defer p.Close()
	_, err = p.Produce(t.Context(), &record.Record{Topic: topic, Value: []byte(value)})
	return err
}

// denied tells whether a producer was refused: the topic, or already the id that it asks for first.
func denied(err error) bool {
	return errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed)
}

func readAs(t *testing.T, client *transport.Client, topic string, n int) (values []string, err error) {
	t.Helper()
	c, err := consumer.New(consumer.Config{Client: client, Topics: []string{topic}})
	require.NoError(t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for r, err := range c.Records(ctx) {
		if err != nil {
			return values, err
		}
		if values = append(values, string(r.Value)); len(values) == n {
			return values, nil
		}
	}
	return values, ctx.Err()
}

func TestSecuredCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tc := secured(t)
		ok := credentials(t)
		admin := cluster.NewAdmin(tc.Any().Client()) // the application itself may do everything
		ctx := t.Context()
		require.NoError(t, admin.CreateTopic(ctx, cluster.TopicSpec{Name: "orders", Partitions: 1}))
		require.NoError(t, admin.CreateTopic(ctx, cluster.TopicSpec{Name: "secret", Partitions: 1}))
		require.NoError(t, admin.SetPassword(ctx, "alice", "wonderland"))

		users, err := admin.Users(ctx)
		require.NoError(t, err)
		assert.Equal(t, []cluster.User{{Name: "alice", Mechanisms: []string{cluster.SASLScramSHA256, cluster.SASLScramSHA512}}}, users)

		alice := ok(transport.ScramSHA256("alice", "wonderland"))
		// Logged in, and allowed nothing.
		require.True(t, denied(produceAs(t, as(t, tc, alice), "orders", "x")))

		acls := []cluster.ACL{
			{Resource: "topic", Name: "ord", Prefixed: true, Principal: "User:alice", Host: "*", Operation: "write"},
			{Resource: "topic", Name: "orders", Principal: "User:alice", Host: "*", Operation: "read"},
		}
		require.NoError(t, admin.CreateACLs(ctx, acls...))
		listed, err := admin.ACLs(ctx, "User:alice")
		require.NoError(t, err)
		assert.ElementsMatch(t, acls, listed)
		tc.Await("all nodes go by the lists", func() bool { return produceAs(t, as(t, tc, alice), "orders", "first") == nil })
		require.Error(t, produceAs(t, as(t, tc, alice), "secret", "x"))
		client := as(t, tc, alice)
		values, err := readAs(t, client, "orders", 1)
		require.NoError(t, err)
		assert.Equal(t, []string{"first"}, values)
		_, err = cluster.NewAdmin(client).ACLs(ctx, "")
		require.ErrorIs(t, err, kerr.ClusterAuthorizationFailed)

		// Fail-over: nodes log in to each other anew, clients as well, and the users live in the metadata.
		leader := tc.Leader("orders", 0)
		tc.Crash(leader)
		require.NoError(t, produceAs(t, client, "orders", "second"))
		tc.Restart(leader)
		tc.AwaitISR("orders", 0, 3)
		values, err = readAs(t, client, "orders", 2)
		require.NoError(t, err)
		assert.Equal(t, []string{"first", "second"}, values)

		// A total restart, too.
		for id := int32(1); id <= 3; id++ {
			tc.Crash(id)
		}
		tc.RestartAll()
		require.NoError(t, produceAs(t, as(t, tc, alice), "orders", "third"))

		// Super users, tokens that expire.
		ops := cluster.NewAdmin(as(t, tc, ok(transport.Plain("ops", "ops-secret"))))
		require.NoError(t, ops.CreateTopic(ctx, cluster.TopicSpec{Name: "more", Partitions: 1}))
		require.NoError(t, ops.CreateACLs(ctx, cluster.ACL{Resource: "topic", Name: "*", Principal: "User:bearer", Operation: "all"}))
		token := "good"
		bearer := as(t, tc, transport.OAuthBearer(func(context.Context) (transport.Token, error) { return transport.Token{Value: token}, nil }))
		tc.Await("the bearer may read", func() bool { _, err := readAs(t, bearer, "orders", 3); return err == nil })
		time.Sleep(10 * time.Minute)
		_, err = readAs(t, bearer, "orders", 3)
		require.NoError(t, err, "logged in again")
		token = "bad"
		time.Sleep(10 * time.Minute)
		_, err = readAs(t, bearer, "orders", 3)
		require.Error(t, err)

		// What is taken away is gone.
		require.NoError(t, ops.DeleteACLs(ctx, acls...))
		tc.Await("alice may not any more", func() bool { return denied(produceAs(t, client, "orders", "x")) })
		require.NoError(t, ops.DeleteUser(ctx, "alice"))
		require.ErrorIs(t, ops.DeleteUser(ctx, "alice"), kerr.ResourceNotFound)
	})
}

// TestStrangers has those connect who should not get anywhere.
func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tc := secured(t)
		ok := credentials(t)
		ctx := t.Context()
		admin := cluster.NewAdmin(tc.Any().Client())
		require.NoError(t, admin.SetPassword(ctx, "alice", "wonderland"))
		require.ErrorIs(t, admin.SetPassword(ctx, "insync-node", "whatever"), kerr.UnacceptableCredential, "the name of nodes")
		for name, c := range map[string]transport.Credentials{
			"without login":             nil,
			"wrong password":            ok(transport.ScramSHA256("alice", "looking glass")),
			"unknown user":              ok(transport.ScramSHA256("mallory", "wonderland")),
			"wrong password by PLAIN":   ok(transport.Plain("ops", "guess")),
			"the nodes' name":           ok(transport.ScramSHA512("insync-node", "a guess at their secret")),
			"the nodes' name by PLAIN":  ok(transport.Plain("insync-node", peerSecret)),
			"the nodes' by SHA-256":     ok(transport.ScramSHA256("insync-node", peerSecret)),
			"a mechanism for nodes":     ok(transport.ScramSHA512("alice", "wonderland")),
			"a token":                   transport.OAuthBearer(func(context.Context) (transport.Token, error) { return transport.Token{Value: "forged"}, nil }),
			"a token that has a secret": transport.OAuthBearer(func(context.Context) (transport.Token, error) { return transport.Token{Value: peerSecret}, nil }),
		} {
			short, cancel := context.WithTimeout(ctx, 10*time.Second)
			client, err := transport.NewClient(transport.ClientConfig{Bootstrap: tc.Addrs(), Network: tc.Network().Host("client"), Credentials: c})
			require.NoError(t, err)
			_, err = client.Request(short, transport.AnyNode, kmsg.NewPtrMetadataRequest())
			require.Error(t, err, name)
			cancel()
			require.NoError(t, client.Close())
		}
		// A client that logged in may not act as a node.
		client := as(t, tc, ok(transport.Plain("ops", "ops-secret")))
		_, err := client.Controller(ctx)
		require.NoError(t, err)
		for _, req := range []kmsg.Request{kmsg.NewPtrBrokerHeartbeatRequest(), kmsg.NewPtrAllocateProducerIDsRequest(), kmsg.NewPtrAlterPartitionRequest()} {
			short, cancel := context.WithTimeout(ctx, 10*time.Second)
			_, err := client.Request(short, 1, req)
			require.Error(t, err, "key %d", req.Key())
			cancel()
		}
	})
}
