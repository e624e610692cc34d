package acl_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/insynclog/insync/internal/acl"
)

// reference is the rules as their documentation states them, without any index.
type reference struct {
	config   acl.Config
	bindings []acl.Binding
}

// about returns the bindings on a resource, for whomever.
func (r reference) about(res acl.Resource) (bs []acl.Binding) {
	for _, b := range r.bindings {
		sameName := b.Pattern.Name == res.Name || b.Pattern.Name == "*"
		if b.Pattern.Kind == acl.Prefixed {
			sameName = strings.HasPrefix(res.Name, b.Pattern.Name)
		}
		if b.Pattern.Type == res.Type && sameName {
			bs = append(bs, b)
		}
	}
	return bs
}

func (r reference) authorize(principal, host string, op acl.Operation, res acl.Resource) acl.Decision {
	if slices.Contains(r.config.SuperUsers, principal) {
		return acl.AllowedSuperUser
	}
	bs := r.about(res)
	if len(bs) == 0 && r.config.AllowEveryoneIfNoACLFound {
		return acl.AllowedNoBinding
	}
	decision := acl.Denied
	for _, b := range bs {
		if b.Principal != principal && b.Principal != "User:*" || b.Host != host && b.Host != "*" {
			continue
		}
		if b.Permission == acl.Deny && (b.Operation == op || b.Operation == acl.All) {
			return acl.DeniedByBinding
		}
		if b.Permission == acl.Allow && implies(b.Operation, op) {
			decision = acl.AllowedByBinding
		}
	}
	return decision
}

func implies(given, asked acl.Operation) bool {
	switch {
	case given == asked, given == acl.All:
		return true
	case asked == acl.Describe:
		return given == acl.Read || given == acl.Write || given == acl.Delete || given == acl.Alter
	case asked == acl.DescribeConfigs:
		return given == acl.AlterConfigs
	}
	return false
}

// authorizeAny tries names: of all there are, one of each sort that bindings can tell apart.
func (r reference) authorizeAny(principal, host string, op acl.Operation, t acl.ResourceType) bool {
	names := []string{"~"}
	for _, b := range r.bindings {
		names = append(names, b.Pattern.Name, b.Pattern.Name+"~")
	}
	if t == acl.Cluster {
		names = []string{acl.ClusterName}
	}
	return slices.ContainsFunc(names, func(name string) bool {
		return r.authorize(principal, host, op, acl.Resource{Type: t, Name: name}).Allowed()
	})
}

// Small worlds, so that bindings meet.
var (
	types      = []acl.ResourceType{acl.Topic, acl.Group, acl.Cluster}
	names      = strings.Fields("* a ab abc abcd b ba x")
	principals = strings.Fields("User:a User:b Team:a User:*")
	hosts      = strings.Fields("10.0.0.1 10.0.0.2 *")
	kinds      = []acl.PatternType{acl.Literal, acl.Prefixed}
	ops        = []acl.Operation{
		acl.All, acl.Read, acl.Write, acl.Create, acl.Delete, acl.Alter, acl.Describe, acl.ClusterAction, acl.DescribeConfigs, acl.AlterConfigs, acl.IdempotentWrite,
		acl.CreateTokens, acl.DescribeTokens,
	}
	permissions = []acl.Permission{acl.Deny, acl.Allow, acl.Allow}
)

func one[T any](next func(int) int, of []T) T { return of[next(len(of))] }

// world makes rules by the choices of next, which returns one of n.
func world(next func(n int) int) reference {
	r := reference{config: acl.Config{AllowEveryoneIfNoACLFound: next(2) == 0}}
	if next(4) == 0 {
		r.config.SuperUsers = []string{one(next, principals[:2])}
	}
	for range next(14) {
		b := acl.Binding{
			Pattern:    acl.Pattern{Type: one(next, types), Name: one(next, names), Kind: one(next, kinds)},
			Principal:  one(next, principals),
			Host:       one(next, hosts),
			Operation:  one(next, ops),
			Permission: one(next, permissions),
		}
		if b.Pattern.Type == acl.Cluster {
			b.Pattern.Name = acl.ClusterName
		}
		r.bindings = append(r.bindings, b)
	}
	return r
}

// differs compares rules with the reference on all questions of the small worlds, and returns the first different answer.
func differs(r reference) string {
	rules, err := acl.NewRules(r.config, r.bindings)
	if err != nil {
		return err.Error()
	}
	for _, principal := range principals {
		for _, host := range append(hosts, "10.0.0.3") {
			for _, t := range types {
				for _, op := range ops {
					got, want := rules.AuthorizeAny(principal, host, op, t), r.authorizeAny(principal, host, op, t)
					if got.Allowed() != want {
						return fmt.Sprintf("%s at %s, %s on any %s: got %v, want %v\n%v", principal, host, op, t, got, want, r)
					}
				}
				for _, name := range append(names, acl.ClusterName, "abcde", "", "c") {
					res := acl.Resource{Type: t, Name: name}
					var allowed acl.Operations
					for _, op := range ops {
						got, want := rules.Authorize(principal, host, op, res), r.authorize(principal, host, op, res)
						if got != want {
							return fmt.Sprintf("%s at %s, %s on %v: got %v, want %v\n%v", principal, host, op, res, got, want, r)
						}
						if want.Allowed() && acl.Supported(t).Has(op) {
							allowed |= 1 << op
						}
					}
					if got := rules.AuthorizedOperations(principal, host, res); got != allowed {
						return fmt.Sprintf("%s at %s on %v: got operations %b, want %b\n%v", principal, host, res, got, allowed, r)
					}
				}
			}
		}
	}
	return ""
}

func seeded(seed uint64) func(int) int { return rand.New(rand.NewPCG(seed, 0)).IntN }
