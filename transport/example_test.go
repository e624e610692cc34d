package transport_test

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/insynclog/insync/transport"
)

// clock answers ListOffsets with nothing but a throttle time, and says which versions it knows.
type clock struct{}

func (clock) Versions() map[int16]transport.VersionRange {
	return map[int16]transport.VersionRange{2: {Min: 1, Max: 11}, 18: {Min: 0, Max: 4}}
}

func (c clock) Serve(_ context.Context, r *transport.Request, reply func(transport.Reply)) {
	switch resp := r.Message.ResponseKind().(type) {
	case *kmsg.ApiVersionsResponse:
		for key, v := range c.Versions() {
			resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: key, MinVersion: v.Min, MaxVersion: v.Max})
		}
		reply(transport.Reply{Message: resp})
	case *kmsg.ListOffsetsResponse:
		resp.ThrottleMillis = 42
		reply(transport.Reply{Message: resp})
	}
}

// A handler behind a server on a network in memory, and in the same process.
func Example() {
	ctx := context.Background()
	network := transport.NewMem()
	server, err := transport.NewServer(transport.ServerConfig{Handler: clock{}})
	if err != nil {
		panic(err)
	}
	defer server.Close()
	l, err := network.Host("node").Listen(ctx, ":9092")
	if err != nil {
		panic(err)
	}
	go server.Serve(l)

	network.SetLink("client", "node", transport.Link{Latency: time.Millisecond})
	for _, c := range []transport.ClientConfig{
		{Network: network.Host("client"), Bootstrap: []string{"node:9092"}},
		{Local: &transport.Local{NodeID: 1, Handler: clock{}}},
	} {
		client, err := transport.NewClient(c)
		if err != nil {
			panic(err)
		}
		resp, err := client.Request(ctx, transport.AnyNode, kmsg.NewPtrListOffsetsRequest())
		if err != nil {
			panic(err)
		}
		fmt.Println("version", resp.GetVersion(), "throttle", resp.(*kmsg.ListOffsetsResponse).ThrottleMillis)
		client.Close()
	}
	// Output:
	// version 11 throttle 42
	// version 11 throttle 42
}
