package machine

import (
	"cmp"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
)

// placer spreads replicas over racks and brokers: the racks take turns, within a rack the brokers do, and each partition starts one further than the one before.
// Fenced brokers come last within their rack and never first in a list, because the first replica leads. It is Kafka's striped placement.
type placer struct {
	racks    []*rack
	rng      interface{ IntN(n int) int }
	unfenced int
	turn     int // partitions placed since the last shuffle
	start    int // rack of the next partition's first replica; -1 at the start
}

type rack struct{ unfenced, fenced ring }

// ring hands out its brokers one by one, each partition beginning one further.
type ring struct {
	ids        []int32
	offset     int
	turn, next int
}

func (r *ring) take(turn int) (int32, bool) {
	if r.turn != turn {
		r.turn, r.next = turn, 0
		if len(r.ids) > 0 {
			r.offset = (r.offset + 1) % len(r.ids)
		}
	}
	if r.next >= len(r.ids) {
		return 0, false
	}
	r.next++
	return r.ids[(r.offset+r.next-1)%len(r.ids)], true
}

func (r *rack) take(turn int) (int32, bool) {
	if id, ok := r.unfenced.take(turn); ok {
		return id, true
	}
	return r.fenced.take(turn)
}

// newPlacer sorts the brokers into racks. Brokers without a rack form one.
func (b *Batch) newPlacer(replication int) (*placer, problem) {
	p := &placer{rng: b.m.c.Rand, start: -1}
	brokers := make([]*Broker, 0, len(b.d.img.Brokers))
	for _, br := range b.d.img.Brokers {
		brokers = append(brokers, br)
	}
	slices.SortFunc(brokers, func(x, y *Broker) int { return cmp.Or(cmp.Compare(x.Rack, y.Rack), cmp.Compare(x.ID, y.ID)) })
	for i, br := range brokers {
		if i == 0 || brokers[i-1].Rack != br.Rack {
			p.racks = append(p.racks, &rack{})
		}
		r := p.racks[len(p.racks)-1]
		if br.Active() {
			r.unfenced.ids = append(r.unfenced.ids, br.ID)
			p.unfenced++
		} else {
			r.fenced.ids = append(r.fenced.ids, br.ID)
		}
	}
	if replication > len(brokers) {
		return nil, refuse(kerr.InvalidReplicationFactor, "Unable to replicate the partition %d time(s): The target replication factor of %d cannot be reached because only %d broker(s) are registered.", replication, replication, len(brokers))
	}
	if p.unfenced == 0 {
		return nil, refuse(kerr.InvalidReplicationFactor, "Unable to replicate the partition %d time(s): All brokers are currently fenced.", replication)
	}
	p.shuffle()
	return p, problem{}
}

func (p *placer) shuffle() {
	for _, r := range p.racks {
		for _, ring := range []*ring{&r.unfenced, &r.fenced} {
			ring.turn = -1
			if n := len(ring.ids); n > 0 {
				ring.offset = p.rng.IntN(n)
			}
		}
	}
	p.turn = 0
}

// place returns the replicas of the next partition. There are at least as many brokers, one of them unfenced.
func (p *placer) place(replication int) []int32 {
	if p.turn == p.unfenced && p.unfenced > 1 {
		// Every broker has been first once: draw anew, or the same lists would come again.
		p.shuffle()
	}
	if p.start < 0 {
		p.start = p.rng.IntN(len(p.racks))
	} else {
		p.start = (p.start + 1) % len(p.racks)
	}
	replicas := make([]int32, 0, replication)
	first := p.start
	for {
		if id, ok := p.racks[first].unfenced.take(p.turn); ok {
			replicas = append(replicas, id)
			break
		}
		first = (first + 1) % len(p.racks)
	}
	for at := p.start; len(replicas) < replication; at = (at + 1) % len(p.racks) {
		if at == first {
			first = -1 // this rack has had its turn with the leader
			continue
		}
		if id, ok := p.racks[at].take(p.turn); ok {
			replicas = append(replicas, id)
		}
	}
	p.turn++
	return replicas
}
