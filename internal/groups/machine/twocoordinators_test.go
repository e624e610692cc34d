package machine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testGrace is for how long a coordinator of before goes on in these tests.
const testGrace = 9 * time.Second

// pair is a coordinator and the one before it, which has not heard that it is not the coordinator any more.
type pair struct {
	t         *testing.T
	now       time.Time
	old, next *Coordinator
	topics    topicMap
	ids       uint64
}

// ask steps a request, writes what is decided as far as the log takes it, and returns the reply.
func (p *pair) ask(c *Coordinator, r Request) Reply {
	p.t.Helper()
	var fx Effects
	p.ids++
	c.Step(p.now, p.ids, r, &fx)
	for entries := c.Flush(p.now, &fx); len(entries) > 0; entries = c.Flush(p.now, &fx) {
		require.Same(p.t, p.next, c, "the one before can write nothing")
		c.Written(p.now, nil, &fx)
	}
	i := slices.IndexFunc(fx.Replies, func(r Reply) bool { return r.ID == p.ids })
	require.GreaterOrEqual(p.t, i, 0, "no reply")
	return fx.Replies[i]
}

// advance lets the time of the coordinator go on.
func (p *pair) advance(to time.Duration, begin time.Time) {
	end := begin.Add(to)
	var fx Effects
	for {
		at, ok := p.next.Next()
		if !ok || at.After(end) {
			break
		}
		p.now = at
		p.next.Tick(p.now, &fx)
		for entries := p.next.Flush(p.now, &fx); len(entries) > 0; entries = p.next.Flush(p.now, &fx) {
			p.next.Written(p.now, nil, &fx)
		}
	}
	p.now = end
}

// takeOver makes the next coordinator of what the log has.
func (p *pair) takeOver() {
	c := testConfig()
	c.LoadGrace = testGrace
	p.next = New(c)
	for e := range p.old.Entries() {
		p.next.Replay(recode(p.t, e))
	}
	var fx Effects
	p.next.Loaded(p.now, p.topics, &fx)
}

// A member that the coordinator of before has answered counts its session from then. The next coordinator does not give its partitions away before that ends, also when it has heard of the member itself meanwhile.
func TestSessionOutlivesTheCoordinatorBefore(t *testing.T) {
	const session = 45 * time.Second
	protocols := map[string]struct {
		join func(*pair) (heartbeat Request)
		in   func(*Coordinator) int
	}{
		"consumer": {
			join: func(p *pair) Request {
				r := p.ask(p.next, &ConsumerHeartbeat{Group: "g", MemberID: "m", RebalanceTimeout: time.Hour, Topics: []string{"a"}})
				require.NoError(p.t, r.Err)
				return &ConsumerHeartbeat{Group: "g", MemberID: "m", MemberEpoch: r.Result.(*ConsumerState).MemberEpoch, RebalanceTimeout: -1}
			},
			in: func(c *Coordinator) int {
				d, _ := c.DescribeConsumer("g")
				return len(d.Members)
			},
		},
		"classic": {
			join: func(p *pair) Request {
				join := &Join{Group: "g", InstanceID: "i", ProtocolType: "consumer", SessionTimeout: session, RebalanceTimeout: time.Hour, Protocols: []Protocol{{Name: "range"}}}
				r := p.ask(p.next, join)
				require.NoError(p.t, r.Err)
				j := r.Result.(*Joined)
				r = p.ask(p.next, &Sync{Group: "g", MemberID: j.MemberID, InstanceID: "i", Generation: j.Generation, Assignments: []Assignment{{MemberID: j.MemberID}}})
				require.NoError(p.t, r.Err)
				return &Heartbeat{Group: "g", MemberID: j.MemberID, InstanceID: "i", Generation: j.Generation}
			},
			in: func(c *Coordinator) int {
				d, _ := c.Describe("g")
				return len(d.Members)
			},
		},
	}
	for name, protocol := range protocols { // in any order: each for itself
		for _, meets := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, meets the next one: %v", name, meets), func(t *testing.T) {
				p := &pair{t: t, now: time.UnixMilli(1_700_000_000_000), topics: topicMap{"a": 4}}
				p.next = New(testConfig())
				var fx Effects
				p.next.Loaded(p.now, p.topics, &fx)
				beat := protocol.join(p)
				p.old = p.next
				moved := p.now
				p.takeOver()
				if meets {
					p.advance(time.Second, moved)
					require.NoError(t, p.ask(p.next, beat).Err)
				}
				p.advance(testGrace-time.Millisecond, moved)
				require.NoError(t, p.ask(p.old, beat).Err, "it does not know better")
				p.advance(testGrace+session-time.Millisecond, moved)
				assert.Equal(t, 1, protocol.in(p.next), "it counts itself in")
				p.advance(testGrace+session, moved)
				assert.Zero(t, protocol.in(p.next), "nobody has heard of it for long")
			})
		}
	}
}

// Consumers that are silent now and then ask a coordinator or the one before it, which answers what it knows until it has something to write or fences itself. At no time do two members work on one partition.
func TestTwoCoordinatorsModel(t *testing.T) {
	answered := 0
	for seed := range modelSeeds(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := &twoCoordinators{world: world{t: t, rng: rand.New(rand.NewPCG(seed, 2)), now: time.UnixMilli(1_700_000_000_000), topics: topicMap{"a": 4, "b": 3}, ids: map[uint64]*fakeConsumer{}}}
			m.run()
			answered += m.answered
		})
	}
	assert.Positive(t, answered, "nobody was answered by a coordinator of before")
}

// twoCoordinators is a world with a coordinator of before.
type twoCoordinators struct {
	world
	old      *Coordinator // nil without
	fenced   time.Time    // when it is none
	silent   map[*fakeConsumer]time.Time
	answered int
}

func (m *twoCoordinators) run() {
	var fx Effects
	m.silent = map[*fakeConsumer]time.Time{}
	m.c = New(testConfig())
	m.c.Loaded(m.now, m.topics, &fx)
	for i := range 3 {
		m.clients = append(m.clients, &fakeConsumer{id: fmt.Sprint("m", i), topics: m.subscription(), alive: true})
	}
	for range 400 {
		cl := m.clients[m.rng.IntN(len(m.clients))]
		switch n := m.rng.IntN(100); {
		case n < 3 && m.old == nil:
			m.move(&fx)
		case n < 6 && m.now.After(m.silent[cl]):
			m.silent[cl] = m.now.Add(time.Duration(m.rng.IntN(90)) * time.Second)
		case n < 9:
			cl.topics = m.subscription()
		}
		m.pass(time.Duration(m.rng.IntN(2500))*time.Millisecond, &fx)
	}
}

// move makes another coordinator of the log; the one before goes on for a while.
func (m *twoCoordinators) move(fx *Effects) {
	m.round(fx)
	m.old, m.fenced = m.c, m.now.Add(time.Duration(m.rng.Int64N(int64(testGrace))))
	c := testConfig()
	c.LoadGrace = testGrace
	m.c = New(c)
	for _, e := range m.log {
		m.c.Replay(recode(m.t, e))
	}
	m.c.Loaded(m.now, m.topics, fx)
}

// pass lets time go on: timers ring, then those who are not silent say that they live.
func (m *twoCoordinators) pass(d time.Duration, fx *Effects) {
	end := m.now.Add(d)
	for {
		m.round(fx)
		at, ok := m.c.Next()
		if !ok || at.After(end) {
			break
		}
		m.now = at
		m.giveUp()
		m.c.Tick(m.now, fx)
	}
	m.now = end
	m.giveUp()
	if m.old != nil && !m.now.Before(m.fenced) {
		m.old = nil
	}
	for _, cl := range m.clients {
		if m.now.Before(m.silent[cl]) || m.rng.IntN(3) == 0 {
			continue
		}
		if m.old != nil && cl.epoch > 0 && m.rng.IntN(2) == 0 {
			m.askOld(cl)
			continue
		}
		m.beat(cl, fx)
		m.round(fx)
	}
}

// askOld sends a heartbeat to the coordinator of before. It can write nothing: what would need that is not answered, and nothing after it.
func (m *twoCoordinators) askOld(cl *fakeConsumer) {
	var fx Effects
	next := m.c
	m.c = m.old
	m.beat(cl, &fx)
	m.c = next
	if len(m.old.Flush(m.now, &fx)) > 0 {
		m.old = nil
		for id, cl := range m.ids {
			cl.pending = false
			delete(m.ids, id)
		}
		return
	}
	m.answered += len(fx.Replies)
	m.deliver(&fx)
}
