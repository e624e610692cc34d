// Exactlyonce is examples/workers with the results in a database: each batch of jobs and the offset behind it are stored in one transaction, so that no job counts twice, whatever is killed when. It is a
// module of its own because of the database driver, which is SQLite in pure Go.
//
//	go run ./examples/workers -exactly-once     (in the root of the repository)
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/consumer/sqloffsets"
	"github.com/insynclog/insync/examples/workers/story"

	_ "github.com/ncruces/go-sqlite3/driver"
)

func main() {
	o := story.Options{Out: os.Stdout}
	flag.IntVar(&o.Workers, "workers", 4, "number of workers, at least 3")
	flag.IntVar(&o.Records, "records", 200_000, "number of jobs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, o)
	if errors.Is(err, story.ErrCount) {
		os.Exit(1) // the last line has said it
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "workers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o story.Options) error {
	dir, err := os.MkdirTemp("", "insync-exactlyonce-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := openStore(ctx, filepath.Join(dir, "results.db"))
	if err != nil {
		return err
	}
	defer s.db.Close()
	o.Store = s
	return story.Run(ctx, o)
}

// store keeps results and offsets in one database.
type store struct {
	db      *sql.DB
	offsets sqloffsets.Store
	applied atomic.Int64
}

func openStore(ctx context.Context, file string) (*store, error) {
	db, err := sql.Open("sqlite3", "file:"+file+"?_pragma=journal_mode(wal)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // SQLite has one writer at a time: let them queue here
	s := &store{db: db, offsets: sqloffsets.Store{DB: db}}
	if err := s.offsets.Create(ctx); err != nil {
		return nil, err
	}
	// No unique key: a job that is applied twice is to show, not to be swallowed.
	_, err = db.ExecContext(ctx, `CREATE TABLE results (job INTEGER NOT NULL, member TEXT NOT NULL)`)
	return s, err
}

// LoadOffsets implements story.Store.
func (s *store) LoadOffsets(ctx context.Context, claim consumer.Claim) (map[consumer.TopicPartition]int64, error) {
	return s.offsets.Load(ctx, claim)
}

// Apply implements story.Store.
func (s *store) Apply(ctx context.Context, b consumer.Batch) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // without effect after Commit
	if err := s.offsets.Advance(ctx, tx, b); err != nil {
		return err
	}
	insert, err := tx.PrepareContext(ctx, `INSERT INTO results (job, member) VALUES (?, ?)`)
	if err != nil {
		return err
	}
	defer insert.Close()
	for i := range b.Records {
		job, err := strconv.Atoi(string(b.Records[i].Value))
		if err != nil {
			return err
		}
		if _, err := insert.ExecContext(ctx, job, b.MemberID); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	s.applied.Add(int64(len(b.Records)))
	return nil
}

// Applied implements story.Store.
func (s *store) Applied() int { return int(s.applied.Load()) }

// Totals implements story.Store.
func (s *store) Totals(ctx context.Context) (applied, distinct int, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT COUNT(*), COUNT(DISTINCT job) FROM results`).Scan(&applied, &distinct)
	return applied, distinct, err
}
