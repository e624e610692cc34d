package consumer

import (
	"context"
	"time"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// wantedLocked is what the group gave this member, with topic ids; topics whose names are still to be found are left out.
func (c *Consumer) wantedLocked() map[key][16]byte {
	g := c.group
	want := map[key][16]byte{}
	var unknown [][16]byte
	for _, t := range g.assignment.topics {
		name := t.name
		if name == "" {
			name = g.names[t.id]
		}
		if name == "" {
			unknown = append(unknown, t.id)
			continue
		}
		for _, n := range t.partitions {
			want[key{name, n}] = t.id
		}
	}
	if len(unknown) > 0 && !g.naming {
		g.naming = true
		c.wg.Go(func() { c.findNames(unknown) })
	}
	return want
}

// findNames finds the names of topics of which KIP-848 tells only the ids. A node that does not know them yet will soon.
func (c *Consumer) findNames(ids [][16]byte) {
	g := c.group
	for wait := coordinatorBackoffMin; ; wait = min(2*wait, coordinatorBackoffMax) {
		topics, err := c.askMetadata(c.ctx, ids)
		c.mu.Lock()
		for _, t := range topics {
			if t.Topic != nil && t.ErrorCode == 0 {
				g.names[t.TopicID] = *t.Topic
			}
		}
		c.clientErrorLocked(err)
		found := err == nil
		for _, id := range ids {
			found = found && g.names[id] != ""
		}
		stop := found || c.mu.ended != nil || c.mu.closed
		if stop {
			g.naming = false
		}
		c.mu.Unlock()
		signal(g.work)
		if stop || pause(c.ctx, wait) != nil {
			return
		}
		c.mu.Lock()
		ids = c.unnamedLocked(ids)
		c.mu.Unlock()
	}
}

// unnamedLocked is what is still to be found, and still wanted.
func (c *Consumer) unnamedLocked(ids [][16]byte) (unknown [][16]byte) {
	g := c.group
	for _, id := range ids {
		if g.names[id] == "" && g.assignment != nil {
			for _, t := range g.assignment.topics {
				if t.id == id {
					unknown = append(unknown, id)
				}
			}
		}
	}
	return unknown
}

// askMetadata asks any node about topics by id; about all that it knows if ids is nil.
func (c *Consumer) askMetadata(ctx context.Context, ids [][16]byte) ([]kmsg.MetadataResponseTopic, error) {
	req := kmsg.NewPtrMetadataRequest()
	if ids != nil {
		req.Topics = []kmsg.MetadataRequestTopic{}
	}
	for _, id := range ids {
		t := kmsg.NewMetadataRequestTopic()
		t.TopicID = id
		req.Topics = append(req.Topics, t)
	}
	resp, err := c.client.Request(ctx, transport.AnyNode, req)
	if err != nil {
		return nil, err
	}
	r, ok := resp.(*kmsg.MetadataResponse)
	if !ok {
		return nil, errAnswer
	}
	return r.Topics, kerr.ErrorForCode(r.ErrorCode)
}

// takeCensus counts, once, the partitions that there are when the member gets its first ones. Only Config.Start Latest needs to know: see startFor.
func (c *Consumer) takeCensus(ctx context.Context) error {
	g := c.group
	if c.config.Start.kind != latest || g.census != nil { // the reconciler alone writes it
		return nil
	}
	census := map[string]int{}
	if c.config.TopicsRegex != "" {
		topics, err := c.askMetadata(ctx, nil)
		if err != nil {
			return err
		}
		for _, t := range topics {
			if t.Topic != nil {
				census[*t.Topic] = len(t.Partitions)
			}
		}
	}
	within, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, name := range c.config.Topics {
		n, err := c.partitionCount(within, name)
		if err != nil {
			return err
		}
		census[name] = n
	}
	c.mu.Lock()
	g.census = census
	c.mu.Unlock()
	return nil
}
