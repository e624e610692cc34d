package transport

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func newAccount(m *memory, kill func(error)) *account { return &account{m: m, kill: kill} }

func TestMemoryGrantsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{max: 100}
		ctx := t.Context()
		a, b, c, d := newAccount(m, nil), newAccount(m, nil), newAccount(m, nil), newAccount(m, nil)
		require.NoError(t, a.take(ctx, 90, false))
		var order []string
		var mu sync.Mutex
		ask := func(name string, acct *account, ctx context.Context, n int) chan error {
			done := make(chan error, 1)
			go func() {
				err := acct.take(ctx, n, false)
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				done <- err
			}()
			synctest.Wait()
			return done
		}
		bc, cancel := context.WithCancel(ctx)
		bDone := ask("b", b, bc, 100)
		cDone := ask("c", c, ctx, 5)
		dDone := ask("d", d, ctx, 60)
		require.Empty(t, order, "c would fit, and has to wait for its turn: else large frames starved")
		cancel()
		require.ErrorIs(t, <-bDone, context.Canceled)
		require.NoError(t, <-cDone)
		require.EqualValues(t, 95, m.used.Load())
		m.give(90)
		require.NoError(t, <-dDone)
		require.Equal(t, []string{"b", "c", "d"}, order)
		m.give(65)
		require.Zero(t, m.used.Load())

		// What is larger than everything waits until it is alone.
		require.NoError(t, a.take(ctx, 1, false))
		bDone = ask("b", b, ctx, 1000)
		m.give(1)
		require.NoError(t, <-bDone)
		m.give(1000)
		require.Zero(t, m.used.Load())
	})
}

func TestMemoryFirstBytesAreFree(t *testing.T) {
	m := &memory{max: 10}
	a := newAccount(m, nil)
	require.NoError(t, a.take(t.Context(), 10, false))
	require.NoError(t, a.take(t.Context(), freeBytes, true))
	m.give(10 + freeBytes)
	require.Zero(t, m.used.Load())
}

func TestMemoryEndsTheSlowest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{max: 100}
		ctx := t.Context()
		start := time.Now()
		var killed []string
		holder := func(name string, n int) *account {
			a := newAccount(m, nil)
			a.kill = func(err error) {
				require.ErrorIs(t, err, ErrMemory)
				killed = append(killed, name)
				m.give(n)
			}
			require.NoError(t, a.take(ctx, n, false))
			return a
		}
		serving := newAccount(m, func(error) { t.Error("a request that is being served must not be ended") })
		require.NoError(t, serving.take(ctx, 20, false))
		older, newer := holder("older", 30), holder("newer", 50)
		older.awaited(30)
		time.Sleep(500 * time.Millisecond)
		newer.awaited(50)
		w := newAccount(m, nil)
		require.NoError(t, w.take(ctx, 25, false))
		require.Equal(t, []string{"older"}, killed)
		require.Equal(t, 1500*time.Millisecond, time.Since(start))
		newer.arrived() // from now on it is served
		done := make(chan error, 1)
		go func() { done <- newAccount(m, nil).take(ctx, 25, false) }()
		time.Sleep(time.Minute)
		require.Empty(t, done)
		require.Len(t, killed, 1)
		m.give(50)
		require.NoError(t, <-done)
	})
}

// TestMemoryDoesNotLock lets frames wait for room that only the others could make.
func TestMemoryDoesNotLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{max: 100}
		var wg sync.WaitGroup
		grown := 0
		for i := range 4 {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			a := newAccount(m, func(err error) { cancel(err) })
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				require.NoError(t, a.take(ctx, 25, false))
				time.Sleep(100 * time.Millisecond)
				a.awaited(25)
				if err := a.take(ctx, 50, false); err != nil {
					require.ErrorIs(t, context.Cause(ctx), ErrMemory)
					a.arrived()
					m.give(25)
					return
				}
				a.arrived()
				grown++
				m.give(75)
			})
		}
		wg.Wait()
		require.Zero(t, m.used.Load())
		require.Equal(t, 2, grown, "two had to go, and no more")
	})
}

func TestMemoryUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{max: 1000}
		var wg sync.WaitGroup
		for i := range 50 {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			a := newAccount(m, func(error) {})
			wg.Go(func() {
				for range 200 {
					n := 1 + r.IntN(400)
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(r.IntN(50))*time.Millisecond)
					if a.take(ctx, n, false) == nil {
						require.LessOrEqual(t, m.used.Load(), int64(1000+50*400)) // a fast take adds before it looks
						time.Sleep(time.Duration(r.IntN(3)) * time.Millisecond)
						m.give(n)
					}
					cancel()
				}
			})
		}
		wg.Wait()
		require.Zero(t, m.used.Load())
		require.Zero(t, m.waiting.Load())
		require.Empty(t, m.mu.queue)
	})
}
