package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/insynclog/insync/internal/sasl"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// passwordIterations is what a password is hashed with: it costs whoever guesses, and a login a few milliseconds.
const passwordIterations = 8192

// SetPassword creates a user of SCRAM-SHA-256 and SCRAM-SHA-512, or gives it a new password. The password does not leave the process.
func (a *Admin) SetPassword(ctx context.Context, user, password string) error {
	req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	for _, t := range []sasl.ScramType{sasl.ScramSHA256, sasl.ScramSHA512} {
		up := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
		salt := sasl.NewSalt()
		salted, err := sasl.SaltPassword(t, passwordIterations, salt, password)
		if err != nil {
			return &AdminError{Op: "set password of", Name: user, Err: err}
		}
		up.Name, up.Mechanism, up.Iterations, up.Salt, up.SaltedPassword = user, int8(t), passwordIterations, salt, salted
		req.Upsertions = append(req.Upsertions, up)
	}
	return a.alterScram(ctx, "set password of", user, req)
}

// DeleteUser removes a user's credentials of SCRAM. Connections that logged in before stay. errors.Is(err, kerr.ResourceNotFound) if there are none.
func (a *Admin) DeleteUser(ctx context.Context, user string) error {
	req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	users, err := a.users(ctx, user)
	if err != nil {
		return &AdminError{Op: "delete user", Name: user, Err: err}
	}
	for _, u := range users {
		for _, name := range u.Mechanisms {
			for _, t := range []sasl.ScramType{sasl.ScramSHA256, sasl.ScramSHA512} {
				if t.String() == name {
					d := kmsg.NewAlterUserSCRAMCredentialsRequestDeletion()
					d.Name, d.Mechanism = user, int8(t)
					req.Deletions = append(req.Deletions, d)
				}
			}
		}
	}
	return a.alterScram(ctx, "delete user", user, req)
}

func (a *Admin) alterScram(ctx context.Context, op, user string, req *kmsg.AlterUserSCRAMCredentialsRequest) error {
	resp, err := request[*kmsg.AlterUserSCRAMCredentialsResponse](ctx, a, req)
	if err != nil {
		return &AdminError{Op: op, Name: user, Err: err}
	}
	for i := range resp.Results {
		if err := kerr.ErrorForCode(resp.Results[i].ErrorCode); err != nil {
			return &AdminError{Op: op, Name: user, Err: err, Text: deref(resp.Results[i].ErrorMessage)}
		}
	}
	return nil
}

// User is a user with credentials of SCRAM.
type User struct {
	Name       string
	Mechanisms []string // SASLScramSHA256, SASLScramSHA512
}

// Users lists the users with credentials of SCRAM.
func (a *Admin) Users(ctx context.Context) ([]User, error) {
	users, err := a.users(ctx, "")
	if err != nil {
		return nil, &AdminError{Op: "list users", Err: err}
	}
	return users, nil
}

// users describes one user, or all.
func (a *Admin) users(ctx context.Context, name string) ([]User, error) {
	req := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
	if name != "" {
		u := kmsg.NewDescribeUserSCRAMCredentialsRequestUser()
		u.Name = name
		req.Users = append(req.Users, u)
	}
	resp, err := request[*kmsg.DescribeUserSCRAMCredentialsResponse](ctx, a, req)
	if err != nil {
		return nil, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	var users []User
	for i := range resp.Results {
		r := &resp.Results[i]
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return nil, err
		}
		u := User{Name: r.User}
		for _, c := range r.CredentialInfos {
			u.Mechanisms = append(u.Mechanisms, sasl.ScramType(c.Mechanism).String())
		}
		users = append(users, u)
	}
	return users, nil
}

// ACL allows or denies one operation on some resources to one principal. Denying wins.
type ACL struct {
	Resource  string // "topic", "group", "cluster" or "transactional-id"
	Name      string // of the resource, "*" for all of them; the cluster's is "kafka-cluster", or ""
	Prefixed  bool   // Name is the beginning of names
	Principal string // "User:alice"; "User:*" for everybody
	Host      string // an IP address; "" or "*" for all
	Operation string // "read", "write", "create", "delete", "alter", "describe", "cluster-action", "describe-configs", "alter-configs", "idempotent-write" or "all"
	Deny      bool
}

// String is the ACL as a sentence.
func (l ACL) String() string {
	verb, name := "allow", l.Name
	if l.Deny {
		verb = "deny"
	}
	if l.Prefixed {
		name += "…"
	}
	host := l.Host
	if host == "" {
		host = "*"
	}
	return fmt.Sprintf("%s %s from %s to %s %s %s", verb, l.Principal, host, l.Operation, l.Resource, name)
}

// aclName is the way this package writes the protocol's names: "transactional-id" for TRANSACTIONAL_ID.
func aclName(s fmt.Stringer) string { return strings.ReplaceAll(strings.ToLower(s.String()), "_", "-") }

// wire is an ACL in the protocol's terms.
func (l ACL) wire() (c kmsg.CreateACLsRequestCreation, err error) {
	c = kmsg.NewCreateACLsRequestCreation()
	if c.ResourceType, err = kmsg.ParseACLResourceType(l.Resource); err != nil {
		return c, err
	}
	if c.Operation, err = kmsg.ParseACLOperation(l.Operation); err != nil {
		return c, err
	}
	c.ResourceName, c.ResourcePatternType, c.Principal, c.Host, c.PermissionType = l.Name, kmsg.ACLResourcePatternTypeLiteral, l.Principal, l.Host, kmsg.ACLPermissionTypeAllow
	if c.ResourceType == kmsg.ACLResourceTypeCluster && c.ResourceName == "" {
		c.ResourceName = "kafka-cluster"
	}
	if l.Prefixed {
		c.ResourcePatternType = kmsg.ACLResourcePatternTypePrefixed
	}
	if c.Host == "" {
		c.Host = "*"
	}
	if l.Deny {
		c.PermissionType = kmsg.ACLPermissionTypeDeny
	}
	return c, nil
}

// CreateACLs adds access control lists; those that are there already stay. After an error some may have been added. errors.Is(err, kerr.SecurityDisabled) without Security.Authorization.
func (a *Admin) CreateACLs(ctx context.Context, acls ...ACL) error {
	req := kmsg.NewPtrCreateACLsRequest()
	for _, l := range acls {
		c, err := l.wire()
		if err != nil {
			return &AdminError{Op: "create ACL", Name: l.String(), Err: kerr.InvalidRequest, Text: err.Error()}
		}
		req.Creations = append(req.Creations, c)
	}
	resp, err := request[*kmsg.CreateACLsResponse](ctx, a, req)
	if err != nil {
		return &AdminError{Op: "create ACLs", Err: err}
	}
	for i := range resp.Results {
		if err := kerr.ErrorForCode(resp.Results[i].ErrorCode); err != nil && i < len(acls) {
			return &AdminError{Op: "create ACL", Name: acls[i].String(), Err: err, Text: deref(resp.Results[i].ErrorMessage)}
		}
	}
	return nil
}

// ACLs lists the access control lists that are about a principal; "" lists all.
func (a *Admin) ACLs(ctx context.Context, principal string) ([]ACL, error) {
	req := kmsg.NewPtrDescribeACLsRequest()
	req.ResourceType, req.ResourcePatternType, req.Operation, req.PermissionType = kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny, kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
	if principal != "" {
		req.Principal = &principal
	}
	resp, err := request[*kmsg.DescribeACLsResponse](ctx, a, req)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return nil, &AdminError{Op: "list ACLs", Name: principal, Err: err}
	}
	var acls []ACL
	for i := range resp.Resources {
		r := &resp.Resources[i]
		for _, e := range r.ACLs {
			acls = append(acls, ACL{
				Resource: aclName(r.ResourceType), Name: r.ResourceName, Prefixed: r.ResourcePatternType == kmsg.ACLResourcePatternTypePrefixed,
				Principal: e.Principal, Host: e.Host, Operation: aclName(e.Operation), Deny: e.PermissionType == kmsg.ACLPermissionTypeDeny,
			})
		}
	}
	return acls, nil
}

// DeleteACLs removes access control lists, as ACLs lists them. Those that are not there are no error.
func (a *Admin) DeleteACLs(ctx context.Context, acls ...ACL) error {
	req := kmsg.NewPtrDeleteACLsRequest()
	for _, l := range acls {
		c, err := l.wire()
		if err != nil {
			return &AdminError{Op: "delete ACL", Name: l.String(), Err: kerr.InvalidRequest, Text: err.Error()}
		}
		f := kmsg.NewDeleteACLsRequestFilter()
		f.ResourceType, f.ResourceName, f.ResourcePatternType = c.ResourceType, &c.ResourceName, c.ResourcePatternType
		f.Principal, f.Host, f.Operation, f.PermissionType = &c.Principal, &c.Host, c.Operation, c.PermissionType
		req.Filters = append(req.Filters, f)
	}
	resp, err := request[*kmsg.DeleteACLsResponse](ctx, a, req)
	if err != nil {
		return &AdminError{Op: "delete ACLs", Err: err}
	}
	for i := range resp.Results {
		r := &resp.Results[i]
		codes := []int16{r.ErrorCode}
		for j := range r.MatchingACLs {
			codes = append(codes, r.MatchingACLs[j].ErrorCode)
		}
		if j := slices.IndexFunc(codes, func(c int16) bool { return c != 0 }); j >= 0 && i < len(acls) {
			return &AdminError{Op: "delete ACL", Name: acls[i].String(), Err: kerr.ErrorForCode(codes[j]), Text: deref(r.ErrorMessage)}
		}
	}
	return nil
}
