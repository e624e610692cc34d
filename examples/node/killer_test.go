//go:build unix

package main

import (
	"flag"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	killerCycles = flag.Int("killer.cycles", 3, "how many nodes TestKiller kills, one at a time")
	killerAll    = flag.Int("killer.all", 1, "how often TestFault_F02_AllProcessesKilled kills all nodes at once")
)

const killed = "killed" // the topic

// TestKiller kills and pauses nodes of a cluster of processes at random, one at a time, while clients use it: what they noted has to be the history of a log.
func TestKiller(t *testing.T) {
	t.Parallel() // most of it is waiting
	s := startSite(t, killed, 3)
	l := startLoad(s, killed, 3)
	kills, pauses, stops := 0, 0, 0
	for kills < *killerCycles {
		settle(300)
		p := s.nodes[rand.IntN(len(s.nodes))]
		switch rand.IntN(8) {
		case 0:
			pauses++
			p.pause()
			settle(1000)
			p.resume()
			continue
		case 1:
			stops++
			s.stop(p)
			s.start(p)
			continue
		}
		kills++
		s.kill(p)
		settle(200)
		p.launch()
		if rand.IntN(4) == 0 { // and once more while it starts
			settle(100)
			kills++
			s.kill(p)
			p.launch()
		}
		p.await()
	}
	l.judge()
	t.Logf("%d kills, %d pauses, %d restarts in good order", kills, pauses, stops)
}

// settle waits for up to so many milliseconds.
func settle(limit int) { time.Sleep(time.Duration(rand.IntN(limit)) * time.Millisecond) }

// All nodes are killed at once, and come back one after the other in any order.
func TestFault_F02_AllProcessesKilled(t *testing.T) {
	t.Parallel() // most of it is waiting
	s := startSite(t, killed, 3)
	l := startLoad(s, killed, 3)
	for range *killerAll {
		settle(600)
		s.kill(s.nodes...)
		for _, i := range rand.Perm(len(s.nodes)) {
			s.nodes[i].launch()
			settle(200)
		}
		for _, p := range s.nodes {
			p.await()
		}
		s.whole(killed, 30*time.Second)
	}
	l.judge()
}

// A leader stands still for longer than its session. Its partitions are led by others meanwhile; when it goes on, what it still had in its hands counts for nothing.
func TestFault_F28_ProcessPaused(t *testing.T) {
	t.Parallel() // most of it is waiting
	s := startSite(t, killed, 3)
	l := startLoad(s, killed, 3)
	time.Sleep(300 * time.Millisecond)
	leader := s.partitions(killed)[0].Leader
	p := s.nodes[leader-1]
	p.pause()
	began := time.Now()
	for {
		list := s.partitions(killed)
		if len(list) > 0 && list[0].Leader >= 0 && list[0].Leader != leader {
			break
		}
		if !assert.Less(t, time.Since(began), 20*time.Second, "nobody else leads") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("another leader after %v", time.Since(began).Round(time.Millisecond))
	before := l.acked.Load()
	for l.acked.Load() < before+50 {
		require.Less(t, time.Since(began), 30*time.Second, "nothing is acknowledged without the paused node")
		time.Sleep(10 * time.Millisecond)
	}
	p.resume()
	l.judge()
}

// Nodes are restarted one after the other, in good order first, then by kill -9. Each is back in sync before the next goes.
func TestFault_F33_RollingRestart(t *testing.T) {
	t.Parallel() // most of it is waiting
	for _, how := range []struct {
		name string
		end  func(*site, ...*process)
	}{{"stopped", (*site).stop}, {"killed", (*site).kill}} {
		t.Run(how.name, func(t *testing.T) {
			s := startSite(t, killed, 3)
			l := startLoad(s, killed, 3)
			for _, p := range s.nodes {
				how.end(s, p)
				s.start(p)
				s.whole(killed, 20*time.Second)
			}
			l.judge()
			// Twice the session, as long as it takes to find that a node has gone, is the promise; a machine that does other things meanwhile gets as much on top.
			assert.Less(t, time.Duration(l.longest.Load()), 8*time.Second)
		})
	}
}

// All nodes are stopped in good order at the same time, and started: no log is recovered, and everybody is in sync again at once, with what was there.
// Nodes that stop leave the ISR in good order as long as others lead, as in Kafka; the last ones stay.
func TestFault_F34_AllProcessesRestarted(t *testing.T) {
	t.Parallel() // most of it is waiting
	s := startSite(t, killed, 3)
	l := startLoad(s, killed, 3)
	time.Sleep(500 * time.Millisecond)
	l.judge() // sends that nobody is there to answer belong to F02
	s.stop(s.nodes...)
	for _, p := range s.nodes {
		assert.FileExists(t, filepath.Join(p.dir, ".kafka_cleanshutdown"))
	}
	s.start(s.nodes...)
	t.Logf("in sync again after %v", s.whole(killed, 5*time.Second).Round(time.Millisecond))
	for _, p := range s.nodes {
		assert.NotContains(t, p.said(), recovered, "node %d", p.id)
	}
	_, total := l.ends()
	assert.Equal(t, l.acked.Load(), total)
	l.readAll(total)

	// The words do come when a node was killed: their absence means something.
	s.kill(s.nodes[0])
	s.start(s.nodes[0])
	s.whole(killed, 20*time.Second)
	assert.Contains(t, s.nodes[0].said(), recovered)
}

// recovered is what a node logs when it goes through a log because the last stop was not clean.
const recovered = "log is recovered"
