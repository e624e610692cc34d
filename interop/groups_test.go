package interop

import (
	"flag"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	only   = flag.String("groups.only", "", "a regular expression: of TestGroupsOverTCP, run the clients whose names match")
	events = flag.Bool("groups.events", false, "print what happened to groups also if nothing is wrong")
)

// Groups of other people's clients on real sockets and files, through joins, leaves, a member's death and the crash of the coordinator's node: no record is missed, no commit is lost or goes back,
// and what is processed again is what was not committed when somebody died.
func TestGroupsOverTCP(t *testing.T) {
	s := newStreet(t, 3)
	match := regexp.MustCompile(*only)
	var crews, travellers []*crew
	to := func(list *[]*crew, name string, kinds ...kind) {
		if match.MatchString(name) {
			*list = append(*list, newCrew(t, s, name, 50*time.Millisecond, kinds...))
		}
	}
	add := func(name string, kinds ...kind) { to(&crews, name, kinds...) }
	for _, k := range []kind{franzCooperative, franzRange, franzRangeAuto, franzNext, franzNextRange, franzNextAuto, saramaRange, saramaSticky, kafkaGo, kafkaGoReader} {
		add(k.name, k)
	}
	// A group changes its protocol with the first and the last member that speaks KIP-848. Member 1 is killed, then 0 and 3 leave. kafka-go, once it leads, reads only subscriptions like its own.
	add("mixed, sarama first", saramaOld, franzRange, franzRange, franzNext, saramaOld, saramaOld)
	add("mixed, franz-go first", franzRange, franzNextRange, saramaOld, franzNextRange, saramaOld)
	add("mixed, KIP-848 first", franzNext, franzNext, saramaOld, franzNext, franzRange, franzRange)
	add("mixed, kafka-go and KIP-848", kafkaGo, franzNext, kafkaGo, franzNext, kafkaGo)
	// Travellers migrate all the way and back: members of one protocol, then of both, of the other alone, of both, and of the first again. The coordinator crashes when only KIP-848 is spoken, and two join while it is away.
	for _, k := range []kind{franzRange, franzCooperative, saramaOld, kafkaGo} {
		to(&travellers, "to KIP-848 and back, "+k.name, k, k, franzNext, franzNextRange, k)
	}
	p := newPress(t, s, slices.Concat(crews, travellers)...)
	defer p.client.Close()
	all := func(cs []*crew, f func(*crew)) {
		var wg sync.WaitGroup
		for _, c := range cs {
			wg.Go(func() { f(c) })
		}
		wg.Wait()
	}
	everybody, travel := func(f func(*crew)) { all(p.crews, f) }, func(f func(*crew)) { all(travellers, f) }
	coordinator := int32(0)
	p.run(300, 3*crewPartitions, 50*time.Millisecond, func(tick int) {
		switch tick {
		case 0:
			everybody(func(c *crew) { c.join(2) })
		case 40:
			all(crews, func(c *crew) { c.join(3) })
			travel(func(c *crew) { c.join(2) }) // a consumer group from here on
		case 80:
			all(crews, func(c *crew) { c.kill(1) })
			travel(func(c *crew) { c.remove(0) })
		case 120:
			travel(func(c *crew) { c.remove(0) })
		case 160:
			coordinator = s.leader("__consumer_offsets", 0)
			s.crash(coordinator)
			for _, c := range p.crews {
				c.outage("the coordinator, node %d, has crashed", coordinator)
			}
		case 180:
			all(crews, func(c *crew) { c.join(1) })
			travel(func(c *crew) { c.join(2) })
		case 220:
			s.restart(coordinator)
			for _, c := range p.crews {
				c.note("node %d is back", coordinator)
			}
		case 240:
			everybody(func(c *crew) { c.remove(0) })
		case 260:
			all(crews, func(c *crew) { c.remove(1) })
			travel(func(c *crew) { c.remove(0) }) // the last that speaks KIP-848
		}
	})
	everybody(func(c *crew) { c.finish(time.Minute, func(n int) { p.print(c, n); p.flush() }) })
	for _, c := range travellers {
		c.mu.Lock()
		same(t, c.name+": the group was", strings.Join(c.types, "→"), "classic→consumer→classic")
		c.mu.Unlock()
	}
}
