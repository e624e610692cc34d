package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/cluster/clustertest"
)

func TestRun(t *testing.T) { require.NoError(t, run(t.Context(), os.Stdout)) }

// Whatever befalls the cluster, a seat that a customer was told is theirs stays theirs.
func TestSeatsUnderFaults(t *testing.T) {
	clustertest.Explore(t, clustertest.Exploration{Seeds: 5}, func(s *clustertest.Sim) {
		s.CreateTopic("wishes", 1, 3)
		var mu sync.Mutex
		told, shops := map[string]string{}, sync.WaitGroup{}
		for _, customer := range []string{"ada", "bob"} {
			shop, err := Open(s.Client(customer))
			require.NoError(s, err)
			shops.Go(func() {
				defer shop.Close()
				for n := 0; !s.Over(); n++ {
					seat := fmt.Sprint(n)
					owner, err := shop.Sell(context.Background(), seat, customer)
					time.Sleep(20 * time.Millisecond)
					mu.Lock()
					if told[seat] != "" && err == nil && told[seat] != owner {
						s.Errorf("seat %s belongs to %s, and to %s", seat, told[seat], owner)
					}
					if err == nil {
						told[seat] = owner
					}
					mu.Unlock()
				}
			})
		}
		s.Begin()
		shops.Wait()
		last, err := Open(s.Client("auditor"))
		require.NoError(s, err)
		defer last.Close()
		for seat, owner := range told {
			now, err := last.Sell(context.Background(), seat, "auditor")
			require.NoError(s, err)
			if now != owner {
				s.Errorf("%s was told to have seat %s, and now it is %s", owner, seat, now)
			}
		}
	})
}
