package interop

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// kind is a client, set up in one way.
type kind struct {
	name  string
	start func(*member)
	loose bool // it commits partitions that it has lost
}

// member is one running client.
type member struct {
	*seat
	phone *phone
	site  site
	t     *testing.T
	group string
	topic string
	leave func() // leaves the group in order, returns when the client is closed
	drop  func() // closes the client after its phone is dead
}

// crew is a group of clients, with its topic, its ledger and somebody who looks at its offsets all the time.
type crew struct {
	*ledger
	site    site
	topic   string
	group   string
	kinds   []kind // of the members, in the order in which they join; the last one also of those that follow
	members []*member
	joined  int
	printed int // records produced, owned by whoever produces
	sizes   []string
	kills   int
	types   []string     // of the group as ListGroups shows it, as it changes
	admin   *kadm.Client // of whoever looks
	blind   int          // looks that failed
	wg      sync.WaitGroup
	stop    func()
}

const crewPartitions = 6

// newCrew makes the topic and starts the looks.
func newCrew(t *testing.T, s site, name string, every time.Duration, kinds ...kind) *crew {
	t.Helper()
	id := strings.NewReplacer(" ", "-", ",", "", "/", "-").Replace(name)
	c := &crew{ledger: newLedger(t, name, crewPartitions, s.session()), site: s, topic: "topic-" + id, group: "group-" + id, kinds: kinds}
	_, c.strict = s.(virtual)
	c.loose = slices.ContainsFunc(kinds, func(k kind) bool { return k.loose })
	client := franzOn(t, &phone{site: s, ledger: c.ledger})
	createTopic(t, client, c.topic, crewPartitions)
	c.admin = kadm.NewClient(client)
	ctx, cancel := context.WithCancel(context.Background())
	c.wg.Go(func() {
		defer func() { c.admin.Close() }()
		tick := time.NewTicker(every)
		defer tick.Stop()
		for ; ; <-tick.C {
			if ctx.Err() != nil {
				return
			}
			c.look(ctx)
		}
	})
	c.stop = cancel
	t.Cleanup(func() { // what a test that failed leaves
		for len(c.members) > 0 {
			c.kill(0)
		}
		c.stop()
		c.wg.Wait()
	})
	return c
}

// look fetches what is committed, and what kind of group it is.
func (c *crew) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	began, before := time.Now(), c.known()
	offsets, err := c.admin.FetchOffsets(ctx, c.group)
	if err != nil {
		if ctx.Err() == nil {
			c.note("looking at offsets: %v", err)
			c.ask()
		}
		return
	}
	found := make([]int64, c.partitions)
	for p := range found {
		if o, ok := offsets.Lookup(c.topic, int32(p)); ok {
			if o.Err != nil {
				c.note("looking at offsets: partition %d: %v", p, o.Err)
				return
			}
			found[p] = max(o.At, 0)
		}
	}
	c.poll(began, before, found)
	groups, err := c.admin.ListGroups(ctx)
	if err != nil {
		c.note("listing groups: %v", err)
		return
	}
	g, ok := groups[c.group]
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.types) == 0 || c.types[len(c.types)-1] != g.GroupType {
		c.types = append(c.types, g.GroupType)
		c.noteLocked("it is a %s group", g.GroupType)
	}
}

// ask has the next look find the coordinator anew, now and then. kgo by itself calls the old one as long as nobody answers there, and would see no commit before the node is back.
func (c *crew) ask() {
	if c.blind++; c.blind%4 == 0 {
		c.admin.Close()
		c.admin = kadm.NewClient(franzOn(c.t, &phone{site: c.site, ledger: c.ledger}))
	}
}

// join adds n members.
func (c *crew) join(n int) {
	for range n {
		c.enter(c.kinds[min(c.joined, len(c.kinds)-1)], "")
	}
	c.size()
}

// enter adds one member, a static one if it has an instance id.
func (c *crew) enter(k kind, instance string) *member {
	seat := c.seat(c.joined, k.name)
	seat.instance = instance
	m := &member{seat: seat, phone: &phone{site: c.site, ledger: c.ledger, seat: seat}, site: c.site, t: c.t, group: c.group, topic: c.topic, leave: func() {}, drop: func() {}}
	c.joined++
	c.note("%v joins", m)
	k.start(m)
	c.members = append(c.members, m)
	return m
}

func (c *crew) size() { c.sizes = append(c.sizes, fmt.Sprint(len(c.members))) }

// take takes the i-th member out of the list.
func (c *crew) take(i int) *member {
	m := c.members[i]
	c.members = slices.Delete(c.members, i, i+1)
	return m
}

// remove lets the i-th member leave in order.
func (c *crew) remove(i int) {
	m := c.take(i)
	c.note("%v leaves", m)
	m.leave()
	c.note("%v has left", m)
	c.size()
}

// kill lets the i-th member vanish.
func (c *crew) kill(i int) {
	m := c.take(i)
	m.seat.kill()
	m.phone.kill()
	c.wg.Go(m.drop)
	c.kills++
	c.size()
}

// finish lets everybody leave, sees a fresh member start where the group stopped, and reports. more produces records to the crew's topic.
func (c *crew) finish(limit time.Duration, more func(n int)) {
	defer c.report()
	if !c.settle(limit, "all is processed", func() bool { return c.missing() == 0 }) || !c.settle(limit, "all is committed", func() bool { return c.behind() == 0 }) {
		return
	}
	for len(c.members) > 0 {
		c.remove(0)
	}
	const tail = 5 * crewPartitions
	c.join(1)
	fresh := c.members[0]
	more(tail)
	if !c.settle(limit, "a fresh member processes what is new", func() bool { return c.missing() == 0 }) || !c.settle(limit, "a fresh member commits what is new", func() bool { return c.behind() == 0 }) {
		return
	}
	c.remove(0)
	c.stop()
	c.wg.Wait()

	c.verdict()
	c.mu.Lock()
	defer c.mu.Unlock()
	if fresh.took < tail || fresh.took > tail && !c.loose {
		c.errorLocked("the fresh member processed %d records, of %d new ones", fresh.took, tail)
	}
}

// verdict checks what was processed again.
func (c *crew) verdict() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.repeats.kills > c.atRisk && !c.loose {
		c.errorLocked("%d records were processed again after kills, of %d not committed then", c.repeats.kills, c.atRisk)
	}
	if c.repeats.other > 0 && c.strict {
		c.errorLocked("%d records were processed again for no reason", c.repeats.other)
	}
	// Where time is real a machine that is busy enough ends sessions of live members, or takes the coordinator's office from its node: that repeats records, and is nobody's mistake. Nothing else may.
	if _, unexplained, _ := c.causes(); unexplained > 0 && !c.loose && !c.cut {
		c.errorLocked("%d records were processed again without a reason", unexplained)
	}
}

// report prints the crew's line, and what happened if something is wrong.
func (c *crew) report() {
	missing, behind := c.missing(), c.behind()
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := "commits kept"
	if c.wrong > 0 {
		kept = "FAILED"
	} else if c.rewound > 0 {
		kept = fmt.Sprintf("commits went back %d times", c.rewound)
	} else if behind > 0 {
		kept = fmt.Sprintf("%d records not committed", behind)
	}
	causes, _, evidence := c.causes()
	for _, cause := range slices.Sorted(maps.Keys(causes)) {
		kept += fmt.Sprintf("; %d: %s", causes[cause], cause)
	}
	if c.wrong > 0 || *events {
		c.t.Logf("%s:\n%s", c.name, strings.Join(append(c.events, evidence...), "\n"))
	}
	c.t.Logf("%-54s members %-38s kills %d  coordinator crashes %d  records %d missing %d repeated %d (%d after kills, of %d uncommitted then; %d after crashes, %d else)  looks %d  %s  %s",
		c.name, strings.Join(c.sizes, "→"), c.kills, c.outages, c.records, missing, c.repeats.sum(), c.repeats.kills, c.atRisk, c.repeats.crash, c.repeats.other, c.polls, strings.Join(c.types, "→"), kept)
}

// settle waits until cond holds.
func (c *crew) settle(limit time.Duration, what string, cond func() bool) bool {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.errorLocked("not within %v: %s; ends %v, committed %v, found %v", limit, what, c.ends, c.committed, c.polled)
			return false
		}
	}
	return true
}

// press produces to the topics of crews.
type press struct {
	client *kgo.Client
	crews  []*crew
	ctx    context.Context
}

func newPress(t *testing.T, s site, crews ...*crew) *press {
	t.Helper()
	p := &press{crews: crews, ctx: context.Background()}
	p.client = franz(t, s, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	return p
}

// print produces n records to a crew's topic.
func (p *press) print(c *crew, n int) {
	for range n {
		i := c.printed
		c.printed++
		r := &kgo.Record{Topic: c.topic, Partition: int32(i % c.partitions), Value: fmt.Append(nil, i)}
		p.client.Produce(p.ctx, r, func(r *kgo.Record, err error) {
			if err != nil {
				c.t.Errorf("%s: produce record %d: %v", c.name, i, err)
				return
			}
			c.produced(i, r.Partition, r.Offset)
		})
	}
}

// run produces n records to each crew on every tick, and calls at with the number of the tick.
func (p *press) run(ticks, n int, every time.Duration, at func(tick int)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := range ticks {
		for _, c := range p.crews {
			p.print(c, n)
		}
		at(i)
		<-tick.C
	}
	p.flush()
}

func (p *press) flush() {
	if err := p.client.Flush(p.ctx); err != nil {
		p.crews[0].t.Error(err)
	}
}

// retryCreate creates a topic; the controller may need a moment.
func retryCreate(ctx context.Context, c *kgo.Client, name string, partitions int32) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, partitions, 3
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return err
	}
	return nil
}
