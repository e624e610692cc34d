package sqloffsets

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/insynclog/insync/consumer"
)

// Store is a table of offsets. Its fields must not change once it is used.
type Store struct {
	DB    *sql.DB
	Table string // name of the table, put into the statements as it is; "" means consumer_offsets
	// Numbered writes parameters as $1, $2, …, as PostgreSQL's drivers want it; otherwise they are question marks.
	Numbered bool
}

// FencedError says that a partition's row is not as this owner left it: another member has claimed it, or has moved it on. It matches consumer.ErrFenced, which makes Process give up what it has of the
// partition, and claim it again if it is still this member's.
type FencedError struct {
	Partition consumer.TopicPartition
	Fence     consumer.Fence // whose transaction or claim was refused
	Expected  int64          // offset at which the row should have been; -1 for a claim, or for a row without offset

	// What the row says. Found is false if there is none.
	Found            bool
	StoredMember     string
	StoredGeneration int32
	StoredOffset     int64
}

// Error names both owners.
func (e *FencedError) Error() string {
	if !e.Found {
		return fmt.Sprintf("offsets of group %s: %s is not claimed", e.Fence.Group, e.Partition)
	}
	return fmt.Sprintf("offsets of group %s: %s at offset %d is member %s's of generation %d, not member %s's of generation %d at offset %d",
		e.Fence.Group, e.Partition, e.StoredOffset, e.StoredMember, e.StoredGeneration, e.Fence.MemberID, e.Fence.Generation, e.Expected)
}

// Is matches consumer.ErrFenced.
func (e *FencedError) Is(target error) bool { return target == consumer.ErrFenced }

// Create makes the table if it does not exist. An application with migrations of its own may make it there instead; the columns are in the package's documentation, offsets are 64 bits.
func (s *Store) Create(ctx context.Context) error {
	_, err := s.DB.ExecContext(ctx, s.sql(`CREATE TABLE IF NOT EXISTS %s (
	consumer_group VARCHAR(255) NOT NULL,
	topic VARCHAR(249) NOT NULL,
	topic_partition INTEGER NOT NULL,
	next_offset BIGINT NOT NULL,
	member VARCHAR(255) NOT NULL,
	generation INTEGER NOT NULL,
	PRIMARY KEY (consumer_group, topic, topic_partition)
)`))
	if err != nil {
		return fmt.Errorf("create %s: %w", s.table(), err)
	}
	return nil
}

// Load claims partitions for their new owner and returns where they go on; partitions that nothing is known of are left out. It is made for Config.LoadOffsets. Each partition is claimed by statements of
// its own, so that after an error some may be claimed already, which does no harm: claiming again is idempotent.
//
// Errors: *FencedError if the row names a higher generation, unless the claim is confirmed; the database's.
func (s *Store) Load(ctx context.Context, claim consumer.Claim) (map[consumer.TopicPartition]int64, error) {
	offsets := make(map[consumer.TopicPartition]int64, len(claim.Partitions))
	for _, tp := range claim.Partitions {
		offset, err := s.claim(ctx, claim, tp)
		if err != nil {
			return nil, fmt.Errorf("claim %s: %w", tp, err)
		}
		if offset >= 0 {
			offsets[tp] = offset
		}
	}
	return offsets, nil
}

// claim takes a partition's row over and reads its offset: in this order, so that the offset includes all that a former owner committed, and nothing can follow.
func (s *Store) claim(ctx context.Context, claim consumer.Claim, tp consumer.TopicPartition) (int64, error) {
	for attempt := 0; ; attempt++ {
		claimed, err := s.take(ctx, claim, tp)
		if err != nil {
			return 0, err
		}
		row, err := s.read(ctx, s.DB, claim.Group, tp)
		switch {
		case err != nil && !errors.Is(err, sql.ErrNoRows):
			return 0, err
		case err == nil && row.member == claim.MemberID && row.generation == claim.Generation:
			return row.offset, nil
		case err == nil && (claimed || row.generation > claim.Generation): // in the first case somebody was quick
			return 0, row.fenced(tp, claim.Fence, -1)
		}
		insertErr := s.insert(ctx, claim, tp)
		if insertErr == nil {
			return -1, nil
		}
		if attempt > 0 { // the first time somebody else may have inserted it
			return 0, insertErr
		}
	}
}

// take writes the new owner into the row, if there is one and it may be taken.
func (s *Store) take(ctx context.Context, claim consumer.Claim, tp consumer.TopicPartition) (claimed bool, err error) {
	query := `UPDATE %s SET member = ?, generation = ? WHERE consumer_group = ? AND topic = ? AND topic_partition = ?`
	args := []any{claim.MemberID, claim.Generation, claim.Group, tp.Topic, tp.Partition}
	if !claim.Confirmed {
		query += ` AND generation <= ?`
		args = append(args, claim.Generation)
	}
	r, err := s.DB.ExecContext(ctx, s.sql(query), args...)
	if err != nil {
		return false, err
	}
	n, err := r.RowsAffected()
	return n > 0, err
}

func (s *Store) insert(ctx context.Context, claim consumer.Claim, tp consumer.TopicPartition) error {
	_, err := s.DB.ExecContext(ctx, s.sql(`INSERT INTO %s (consumer_group, topic, topic_partition, next_offset, member, generation) VALUES (?, ?, ?, ?, ?, ?)`),
		claim.Group, tp.Topic, tp.Partition, int64(-1), claim.MemberID, claim.Generation)
	return err
}

// Advance moves the partition of a batch on to b.Next as part of the application's transaction. Best call it first: a member that is not the owner any more then does no work in vain, and the row's lock
// makes others wait for the outcome. On an error the transaction must be rolled back.
//
// Errors: *FencedError if the row does not name the batch's owner, or is not at b.Expected; the database's.
func (s *Store) Advance(ctx context.Context, tx *sql.Tx, b consumer.Batch) error {
	tp := consumer.TopicPartition{Topic: b.Topic, Partition: b.Partition}
	r, err := tx.ExecContext(ctx, s.sql(`UPDATE %s SET next_offset = ? WHERE consumer_group = ? AND topic = ? AND topic_partition = ? AND member = ? AND generation = ? AND next_offset = ?`),
		b.Next, b.Group, b.Topic, b.Partition, b.MemberID, b.Generation, b.Expected)
	if err != nil {
		return fmt.Errorf("advance %s to %d: %w", tp, b.Next, err)
	}
	switch n, err := r.RowsAffected(); {
	case err != nil:
		return fmt.Errorf("advance %s to %d: %w", tp, b.Next, err)
	case n == 1:
		return nil
	}
	row, err := s.read(ctx, tx, b.Group, tp)
	if errors.Is(err, sql.ErrNoRows) {
		return &FencedError{Partition: tp, Fence: b.Fence, Expected: b.Expected}
	}
	if err != nil {
		return fmt.Errorf("advance %s to %d: %w", tp, b.Next, err)
	}
	return row.fenced(tp, b.Fence, b.Expected)
}

// row is what the table says of one partition.
type row struct {
	offset     int64
	member     string
	generation int32
}

func (r row) fenced(tp consumer.TopicPartition, f consumer.Fence, expected int64) *FencedError {
	return &FencedError{Partition: tp, Fence: f, Expected: expected, Found: true, StoredMember: r.member, StoredGeneration: r.generation, StoredOffset: r.offset}
}

// querier is a database or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (s *Store) read(ctx context.Context, q querier, group string, tp consumer.TopicPartition) (r row, err error) {
	err = q.QueryRowContext(ctx, s.sql(`SELECT next_offset, member, generation FROM %s WHERE consumer_group = ? AND topic = ? AND topic_partition = ?`), group, tp.Topic, tp.Partition).
		Scan(&r.offset, &r.member, &r.generation)
	return r, err
}

func (s *Store) table() string {
	if s.Table == "" {
		return "consumer_offsets"
	}
	return s.Table
}

// sql puts the table and the driver's kind of parameters into a statement.
func (s *Store) sql(query string) string {
	query = strings.Replace(query, "%s", s.table(), 1)
	if !s.Numbered {
		return query
	}
	var b strings.Builder
	n := 0
	for _, r := range query {
		if r != '?' {
			b.WriteRune(r)
			continue
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
	}
	return b.String()
}
