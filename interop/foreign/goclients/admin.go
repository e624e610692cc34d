package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// metadataAll asks for all topics, by a client of its own: where it fails, connections of others must not.
func (s *site) metadataAll() (string, error) {
	t, err := s.topic("all", 1)
	if err != nil {
		return "", err
	}
	c, err := s.open(s.admin)
	if err != nil {
		return "", err
	}
	defer c.close()
	all, err := c.topics()
	if err == nil && !slices.Contains(all, t) {
		err = fmt.Errorf("%d topics without %s", len(all), t)
	}
	return fmt.Sprint(len(all), " topics"), err
}

func (s *site) adminTopics() (string, error) {
	t, err := s.topic("admin", 2)
	if err != nil {
		return "", err
	}
	ps, err := s.partitions(t)
	if err != nil {
		return "", err
	}
	if len(ps) != 2 || ps[0].replicas != 3 {
		return "", fmt.Errorf("described as %+v", ps)
	}
	if err := s.deleteTopic(t); err != nil {
		return "", err
	}
	return "", errors.Join(
		wantCode(s.client, s.createTopic("bad name", 1, 1), invalidTopic),
		wantCode(s.client, s.createTopic(t+"x", 1, 9), invalidReplication),
		await("the topic is gone", func() (bool, error) {
			_, err := s.partitions(t)
			return s.code(err) == unknownTopic, err
		}),
		wantCode(s.client, s.deleteTopic(t), unknownTopic),
	)
}

func (s *site) adminPartitions() (string, error) {
	t, err := s.topic("partitions", 1)
	if err != nil {
		return "", err
	}
	if err := s.addPartitions(t, 3); err != nil {
		return "", err
	}
	if err := s.awaitLeaders(t, 3); err != nil {
		return "", err
	}
	if err := wantCode(s.client, s.addPartitions(t, 2), invalidPartitions); err != nil {
		return "", err
	}
	c, err := s.open(s.admin) // one that has not seen the topic with one partition
	if err != nil {
		return "", err
	}
	defer c.close()
	if err := send(c, sending{}, numbered(t, 3, 0, 30), nil); err != nil {
		return "", err
	}
	all, err := s.readAll(t, 3)
	if err == nil && len(all) != 30 {
		err = fmt.Errorf("%d of 30 records", len(all))
	}
	return "", err
}

func (s *site) adminConfigs() (string, error) {
	const retention, week = "retention.ms", "604800000"
	t, err := s.topic("configs", 1)
	if err != nil {
		return "", err
	}
	is := func(want string) error {
		return await(retention+"="+want, func() (bool, error) {
			got, err := s.topicConfig(t, retention)
			return err == nil && got == want, errors.Join(err, fmt.Errorf("it is %q", got))
		})
	}
	set := func(v string) error { return s.setTopicConfig(t, retention, &v) }
	if err := is(week); err != nil {
		return "", err
	}
	if err := errors.Join(set("12345"), is("12345"), s.setTopicConfig(t, retention, nil), is(week), wantCode(s.client, set("soon"), invalidConfig)); err != nil {
		return "", err
	}
	n, err := s.brokerConfigs(1)
	if err == nil && n == 0 {
		err = errors.New("no broker settings")
	}
	return "", err
}

func (s *site) adminCluster() (string, error) {
	c, err := s.cluster()
	if err != nil {
		return "", err
	}
	if c.nodes != 3 || c.controller <= 0 {
		return "", fmt.Errorf("%+v", c)
	}
	if c.id == "" {
		return "the client does not tell the cluster's id", nil
	}
	return "", nil
}

func (s *site) adminRecords() (string, error) {
	t, err := s.topic("records", 1)
	if err != nil {
		return "", err
	}
	if err := send(s.client, sending{}, numbered(t, 1, 0, 100), nil); err != nil {
		return "", err
	}
	if err := s.deleteRecords(t, 0, 40); err != nil {
		return "", err
	}
	all, err := s.readAll(t, 1)
	if err == nil && (len(all) != 60 || all[0].offset != 40) {
		err = fmt.Errorf("%d records", len(all))
	}
	return "", err
}

// adminAccess makes a user, and lets it write by an ACL.
func (s *site) adminAccess() (string, error) {
	t, err := s.topic("acl", 1)
	if err != nil {
		return "", err
	}
	bob := strings.TrimSuffix(s.prefix, "-") + "-bob"
	if err := s.addUser(bob, "builder"); err != nil {
		return "", err
	}
	if n, err := s.credentials(bob); err != nil || n != 1 {
		return "", fmt.Errorf("user has %d credentials: %w", n, orNothing(err))
	}
	l := s.admin
	l.user, l.password = bob, "builder"
	write := func() error {
		c, err := s.open(l)
		if err != nil {
			return err
		}
		defer c.close()
		return send(c, sending{}, numbered(t, 1, 0, 1), nil)
	}
	if err := wantCode(s.client, write(), s.refused); err != nil {
		return "", err
	}
	if err := s.allowWrite(t, bob); err != nil {
		return "", err
	}
	// A node that is asked may not have what another one has written; its answer is not wrong.
	if err := await("the ACL is described", func() (bool, error) {
		n, err := s.allowed(t, bob)
		return err == nil && n == 1, errors.Join(err, fmt.Errorf("%d ACLs", n))
	}); err != nil {
		return "", err
	}
	if err := await("bob may write", func() (bool, error) { err := write(); return err == nil, err }); err != nil {
		return "", err
	}
	if n, err := s.disallowWrite(t, bob); err != nil || n != 1 {
		return "", fmt.Errorf("deleted %d ACLs: %w", n, orNothing(err))
	}
	return "", await("bob may not write", func() (bool, error) { err := write(); return s.code(err) == s.refused, err })
}

var mechanisms = []string{"SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"}

// login asks for all topics as somebody.
func (s *site) login(l login) error {
	c, err := s.open(l)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = c.topics()
	return err
}

func (s *site) loginRight() (string, error) {
	for _, m := range mechanisms {
		l := s.admin
		l.mechanism = m
		if err := s.login(l); err != nil {
			return "", fmt.Errorf("%s: %w", m, err)
		}
	}
	return strings.Join(mechanisms, ", "), nil
}

func (s *site) loginWrong() (string, error) {
	for _, m := range mechanisms {
		l := s.admin
		l.mechanism, l.password = m, "wrong"
		if err := wantCode(s.client, s.login(l), saslAuthentication); err != nil {
			return "", fmt.Errorf("%s: %w", m, err)
		}
	}
	// Without the root the certificate must not be taken.
	l := s.admin
	l.roots = os.DevNull
	if err := s.login(l); err == nil {
		return "", errors.New("connected to a node with an unknown certificate")
	}
	return "SASL_AUTHENTICATION_FAILED", nil
}
