package sqloffsets

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/insynclog/insync/consumer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a database of one table that understands the statements of a Store, and no others. Like a database that locks rows, it lets a second transaction wait for the end of the first; a write outside of a
// transaction is one of its own.
type memory struct {
	lock chan struct{} // capacity 1: who writes has put something in

	mu         sync.Mutex
	rows       map[string][]driver.Value // next_offset, member, generation
	statements []string
	fail       error
	before     func(query string) // called before a statement is run
}

func (m *memory) Connect(context.Context) (driver.Conn, error) { return &conn{m: m}, nil }
func (m *memory) Driver() driver.Driver                        { return nil }

type conn struct {
	m    *memory
	tx   bool
	mine map[string][]driver.Value // written and not committed
}

func (c *conn) Prepare(string) (driver.Stmt, error) { return nil, errors.New("not prepared") }
func (c *conn) Close() error                        { return nil }

func (c *conn) Begin() (driver.Tx, error) {
	c.tx, c.mine = true, nil
	return c, nil
}

func (c *conn) Commit() error {
	c.m.mu.Lock()
	for k, v := range c.mine {
		c.m.rows[k] = v
	}
	c.m.mu.Unlock()
	return c.Rollback()
}

func (c *conn) Rollback() error {
	if c.mine != nil {
		<-c.m.lock
	}
	c.tx, c.mine = false, nil
	return nil
}

func (c *conn) start(query string) (string, error) {
	if f := c.m.before; f != nil {
		f(query)
	}
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.m.statements = append(c.m.statements, query)
	return strings.ToUpper(query[:6]), c.m.fail
}

func rowKey(args []driver.NamedValue) string {
	return fmt.Sprint(args[0].Value, "/", args[1].Value, "/", args[2].Value)
}

func (c *conn) row(k string) ([]driver.Value, bool) {
	if r, ok := c.mine[k]; ok {
		return r, true
	}
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	r, ok := c.m.rows[k]
	return r, ok
}

func (c *conn) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	verb, err := c.start(query)
	if err != nil {
		return nil, err
	}
	if verb == "CREATE" {
		return driver.RowsAffected(0), nil
	}
	alone := !c.tx
	if c.mine == nil {
		c.m.lock <- struct{}{}
		c.mine = map[string][]driver.Value{}
	}
	if alone {
		defer func() { _ = c.Commit() }()
	}
	switch {
	case verb == "INSERT":
		if _, ok := c.row(rowKey(args)); ok {
			return nil, errors.New("duplicate key")
		}
		c.mine[rowKey(args)] = []driver.Value{args[3].Value, args[4].Value, args[5].Value}
		return driver.RowsAffected(1), nil
	case strings.Contains(query, "SET member"):
		k := rowKey(args[2:])
		r, ok := c.row(k)
		if !ok || len(args) > 5 && r[2].(int64) > args[5].Value.(int64) {
			return driver.RowsAffected(0), nil
		}
		c.mine[k] = []driver.Value{r[0], args[0].Value, args[1].Value}
		return driver.RowsAffected(1), nil
	default:
		k := rowKey(args[1:])
		r, ok := c.row(k)
		if !ok || !slices.Equal(r, []driver.Value{args[6].Value, args[4].Value, args[5].Value}) {
			return driver.RowsAffected(0), nil
		}
		c.mine[k] = []driver.Value{args[0].Value, r[1], r[2]}
		return driver.RowsAffected(1), nil
	}
}

func (c *conn) QueryContext(_ context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if _, err := c.start(query); err != nil {
		return nil, err
	}
	r, ok := c.row(rowKey(args))
	if !ok {
		return &rows{}, nil
	}
	return &rows{values: [][]driver.Value{r}}, nil
}

type rows struct{ values [][]driver.Value }

func (r *rows) Columns() []string { return []string{"next_offset", "member", "generation"} }
func (r *rows) Close() error      { return nil }

func (r *rows) Next(dest []driver.Value) error {
	if len(r.values) == 0 {
		return io.EOF
	}
	copy(dest, r.values[0])
	r.values = r.values[1:]
	return nil
}

func newStore(t *testing.T) (*Store, *memory) {
	t.Helper()
	m := &memory{lock: make(chan struct{}, 1), rows: map[string][]driver.Value{}}
	s := &Store{DB: sql.OpenDB(m)}
	t.Cleanup(func() { require.NoError(t, s.DB.Close()) })
	require.NoError(t, s.Create(t.Context()))
	return s, m
}

var tp = consumer.TopicPartition{Topic: "t", Partition: 3}

func claim(member string, generation int32) consumer.Claim {
	return consumer.Claim{Fence: consumer.Fence{Group: "g", MemberID: member, Generation: generation}, Partitions: []consumer.TopicPartition{tp}}
}

func batch(c consumer.Claim, expected, next int64) consumer.Batch {
	return consumer.Batch{Topic: tp.Topic, Partition: tp.Partition, Fence: c.Fence, Expected: expected, Next: next}
}

// advance runs Advance in a transaction of its own.
func advance(t *testing.T, s *Store, b consumer.Batch) error {
	t.Helper()
	tx, err := s.DB.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	if err := s.Advance(t.Context(), tx, b); err != nil {
		require.NoError(t, tx.Rollback())
		return err
	}
	return tx.Commit()
}

func TestClaimAndAdvance(t *testing.T) {
	s, _ := newStore(t)
	a := claim("a", 1)
	offsets, err := s.Load(t.Context(), a)
	require.NoError(t, err)
	assert.Empty(t, offsets, "nothing is known yet: Config.Start says where to begin")
	require.NoError(t, advance(t, s, batch(a, -1, 10)))
	require.NoError(t, advance(t, s, batch(a, 10, 20)))
	offsets, err = s.Load(t.Context(), a)
	require.NoError(t, err)
	assert.Equal(t, map[consumer.TopicPartition]int64{tp: 20}, offsets, "claimed again")

	var fenced *FencedError
	require.ErrorAs(t, advance(t, s, batch(a, 10, 20)), &fenced, "that was done already")
	assert.Equal(t, int64(20), fenced.StoredOffset)
	require.ErrorAs(t, advance(t, s, batch(claim("a", 1), 99, 100)), &fenced, "there is a gap")

	b := claim("b", 2)
	offsets, err = s.Load(t.Context(), b)
	require.NoError(t, err)
	assert.Equal(t, map[consumer.TopicPartition]int64{tp: 20}, offsets)
	err = advance(t, s, batch(a, 20, 30))
	require.ErrorIs(t, err, consumer.ErrFenced, "its partition is another's")
	require.ErrorAs(t, err, &fenced)
	assert.Equal(t, "offsets of group g: t-3 at offset 20 is member b's of generation 2, not member a's of generation 1 at offset 20", fenced.Error())
	require.NoError(t, advance(t, s, batch(b, 20, 30)))
	_, err = s.Load(t.Context(), a)
	require.ErrorIs(t, err, consumer.ErrFenced, "a late claim")
	require.NoError(t, advance(t, s, batch(b, 30, 40)))
}

// A static member's successor may have the generation of its predecessor.
func TestEqualGenerations(t *testing.T) {
	s, _ := newStore(t)
	a, b := claim("a", 7), claim("b", 7)
	_, err := s.Load(t.Context(), a)
	require.NoError(t, err)
	require.NoError(t, advance(t, s, batch(a, -1, 1)))
	_, err = s.Load(t.Context(), b)
	require.NoError(t, err)
	require.ErrorIs(t, advance(t, s, batch(a, 1, 2)), consumer.ErrFenced)
	_, err = s.Load(t.Context(), a) // a claim of the predecessor that was on its way
	require.NoError(t, err)
	require.ErrorIs(t, advance(t, s, batch(b, 1, 2)), consumer.ErrFenced)
	_, err = s.Load(t.Context(), b)
	require.NoError(t, err)
	require.NoError(t, advance(t, s, batch(b, 1, 2)), "each record once, whoever wins")
}

// A transaction of the former owner that is under way is either in what the new owner finds, or fails.
func TestClaimWaitsForATransactionUnderWay(t *testing.T) {
	s, _ := newStore(t)
	a, b := claim("a", 1), claim("b", 2)
	_, err := s.Load(t.Context(), a)
	require.NoError(t, err)
	tx, err := s.DB.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, s.Advance(t.Context(), tx, batch(a, -1, 5)))
	found := make(chan map[consumer.TopicPartition]int64)
	go func() {
		offsets, err := s.Load(t.Context(), b)
		assert.NoError(t, err)
		found <- offsets
	}()
	require.NoError(t, tx.Commit())
	assert.Equal(t, map[consumer.TopicPartition]int64{tp: 5}, <-found)
}

// A group that was forgotten counts from 1 again.
func TestConfirmedClaim(t *testing.T) {
	s, _ := newStore(t)
	_, err := s.Load(t.Context(), claim("a", 99))
	require.NoError(t, err)
	c := claim("b", 1)
	_, err = s.Load(t.Context(), c)
	var fenced *FencedError
	require.ErrorAs(t, err, &fenced)
	assert.Equal(t, int32(99), fenced.StoredGeneration)
	c.Confirmed = true
	_, err = s.Load(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, advance(t, s, batch(c, -1, 1)))
}

// Somebody else makes the row between the look and the insert.
func TestInsertRace(t *testing.T) {
	s, m := newStore(t)
	m.before = func(query string) {
		if strings.HasPrefix(query, "INSERT") {
			m.mu.Lock()
			m.rows["g/t/3"] = []driver.Value{int64(8), "b", int64(1)}
			m.mu.Unlock()
		}
	}
	offsets, err := s.Load(t.Context(), claim("a", 2))
	require.NoError(t, err)
	assert.Equal(t, map[consumer.TopicPartition]int64{tp: 8}, offsets)
}

func TestWithoutARow(t *testing.T) {
	s, _ := newStore(t)
	err := advance(t, s, batch(claim("a", 1), -1, 1))
	require.ErrorIs(t, err, consumer.ErrFenced)
	assert.Equal(t, "offsets of group g: t-3 is not claimed", err.Error())
}

func TestErrorsOfTheDatabase(t *testing.T) {
	s, m := newStore(t)
	m.fail = errors.New("disk full")
	_, err := s.Load(t.Context(), claim("a", 1))
	require.ErrorIs(t, err, m.fail)
	require.ErrorIs(t, advance(t, s, batch(claim("a", 1), -1, 1)), m.fail)
	require.ErrorIs(t, s.Create(t.Context()), m.fail)
}

func TestStatements(t *testing.T) {
	s, m := newStore(t)
	s.Table, s.Numbered = "billing.progress", true
	_, err := s.Load(t.Context(), claim("a", 1))
	require.NoError(t, err)
	assert.Equal(t, "UPDATE billing.progress SET member = $1, generation = $2 WHERE consumer_group = $3 AND topic = $4 AND topic_partition = $5 AND generation <= $6", m.statements[1])
}
