package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/insynclog/insync/consumer"
	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/producer"
	"github.com/insynclog/insync/transport"
)

// Shop sells seats of one concert. Any number of shops may sell at the same time: whose wish comes first in the log has the seat.
type Shop struct {
	wishes *producer.Producer
	sales  *consumer.Consumer
	done   chan struct{}

	mu    sync.Mutex
	read  int64             // offset of the next wish to be looked at
	moved chan struct{}     // closed when read moves
	owner map[string]string // of each seat that was sold
}

// Open opens a shop that reaches the log through client.
func Open(client *transport.Client) (*Shop, error) {
	p, err := producer.New(producer.Config{Client: client})
	if err != nil {
		return nil, err
	}
	c, err := consumer.New(consumer.Config{Client: client, Topics: []string{"wishes"}})
	if err != nil {
		p.Close()
		return nil, err
	}
	s := &Shop{wishes: p, sales: c, done: make(chan struct{}), moved: make(chan struct{}), owner: map[string]string{}}
	go s.follow()
	return s, nil
}

// Close closes the shop.
func (s *Shop) Close() error {
	err := s.wishes.Close()
	s.sales.Close()
	<-s.done
	return err
}

// follow reads the log from its beginning on: that is all the state there is.
func (s *Shop) follow() {
	defer close(s.done)
	for wish, err := range s.sales.Records(context.Background()) {
		if err != nil {
			return
		}
		s.mu.Lock()
		if seat := string(wish.Key); s.owner[seat] == "" {
			s.owner[seat] = string(wish.Value)
		}
		s.read = wish.Offset + 1
		close(s.moved)
		s.moved = make(chan struct{})
		s.mu.Unlock()
	}
}

// Sell tries to sell a seat, and says who has it. An error means that nobody knows whether the wish is in the log.
func (s *Shop) Sell(ctx context.Context, seat, customer string) (owner string, err error) {
	stored, err := s.wishes.Produce(ctx, &record.Record{Topic: "wishes", Key: []byte(seat), Value: []byte(customer)})
	if err != nil {
		return "", fmt.Errorf("seat %s for %s: %w", seat, customer, err)
	}
	return s.Owner(ctx, seat, stored.Offset)
}

// Owner says who has a seat, once the log was read up to an offset.
func (s *Shop) Owner(ctx context.Context, seat string, offset int64) (string, error) {
	for {
		s.mu.Lock()
		read, moved, owner := s.read, s.moved, s.owner[seat]
		s.mu.Unlock()
		if read > offset {
			return owner, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}
