package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/transport"
)

// security is what the command line says of TLS and logins. Secrets come from files: what is on a command line everybody on the machine can read.
type security struct {
	cert, key, roots  string
	users, peerSecret string
	super             string

	passwords map[string]string
}

func (s *security) flags(f *flag.FlagSet) {
	f.StringVar(&s.cert, "tls-cert", "", "certificate of the node, a PEM file; turns TLS on")
	f.StringVar(&s.key, "tls-key", "", "its private key, a PEM file")
	f.StringVar(&s.roots, "tls-roots", "", "certificates to trust when connecting to other nodes, a PEM file")
	f.StringVar(&s.users, "users", "", "file with a name and a password in each line; turns logins on")
	f.StringVar(&s.peerSecret, "peer-secret", "", "file with the secret by which nodes know each other")
	f.StringVar(&s.super, "super", "", "super users, separated by commas; turns access control lists on")
}

// apply adds all that to the configuration.
func (s *security) apply(c *cluster.Config) error {
	if s.cert != "" {
		certificates, err := transport.LoadCertificates(transport.CertificateFiles{Certificate: s.cert, Key: s.key, Roots: s.roots}, func(err error) {
			fmt.Fprintln(os.Stderr, "node: certificates stay as they are:", err)
		})
		if err != nil {
			return err
		}
		c.Network = transport.TLS(certificates, tls.NoClientCert)
	}
	if s.users == "" {
		return nil
	}
	var err error
	if s.passwords, err = readUsers(s.users); err != nil {
		return err
	}
	c.Security = &cluster.Security{SASL: []string{cluster.SASLScramSHA512, cluster.SASLScramSHA256, cluster.SASLPlain}, Passwords: s.passwords}
	if s.peerSecret != "" {
		secret, err := os.ReadFile(s.peerSecret)
		if err != nil {
			return err
		}
		c.Security.PeerSecret = strings.TrimSpace(string(secret))
	}
	if s.super != "" {
		c.Security.Authorization = &cluster.Authorization{}
		for name := range strings.SplitSeq(s.super, ",") {
			c.Security.Authorization.SuperUsers = append(c.Security.Authorization.SuperUsers, "User:"+name)
		}
	}
	return nil
}

// readUsers reads a file with a name and a password in each line.
func readUsers(name string) (map[string]string, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	users := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		switch f := strings.Fields(line); len(f) {
		case 0:
		case 2:
			users[f[0]] = f[1]
		default:
			return nil, fmt.Errorf("%s: want a name and a password in each line", name)
		}
	}
	return users, nil
}

// createUsers gives users their passwords for SCRAM, which are stored in the cluster, where they have none yet.
func (s *security) createUsers(ctx context.Context, node *cluster.Node) error {
	if len(s.passwords) == 0 {
		return nil
	}
	admin := cluster.NewAdmin(node.Client())
	known, err := admin.Users(ctx)
	if err != nil {
		return err
	}
	for name, password := range s.passwords {
		if slices.ContainsFunc(known, func(u cluster.User) bool { return u.Name == name }) {
			continue
		}
		if err := admin.SetPassword(ctx, name, password); err != nil {
			return err
		}
	}
	return nil
}
