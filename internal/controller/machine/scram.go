package machine

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/insynclog/insync/internal/sasl"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ScramUser is one user's credential of one SCRAM mechanism.
type ScramUser struct {
	Name      string
	Mechanism sasl.ScramType
}

func (u ScramUser) compare(o ScramUser) int {
	return cmp.Or(cmp.Compare(u.Name, o.Name), cmp.Compare(u.Mechanism, o.Mechanism))
}

// ScramUsers lists the credentials of the image in order.
func (img *Image) ScramUsers() []ScramUser {
	return slices.SortedFunc(maps.Keys(img.Scram), ScramUser.compare)
}

// ScramRecord is Kafka's UserScramCredentialRecord.
type ScramRecord struct {
	User       ScramUser
	Credential sasl.Credential
}

// RemoveScram is Kafka's RemoveUserScramCredentialRecord.
type RemoveScram struct{ User ScramUser }

func (r *ScramRecord) kind() kind { return kindScram }
func (r *RemoveScram) kind() kind { return kindRemoveScram }

// String tells nothing of the keys.
func (r *ScramRecord) String() string {
	return fmt.Sprintf("UserScramCredential %q %s iterations=%d", r.User.Name, r.User.Mechanism, r.Credential.Iterations())
}

func (r *RemoveScram) String() string {
	return fmt.Sprintf("RemoveUserScramCredential %q %s", r.User.Name, r.User.Mechanism)
}

func (r *ScramRecord) encode(dst []byte) []byte {
	k := r.Credential.Keys()
	dst = append(putString(dst, r.User.Name), byte(r.User.Mechanism))
	dst = putInt(dst, int64(r.Credential.Iterations()))
	return putString(putString(putString(dst, string(k.Salt)), string(k.StoredKey)), string(k.ServerKey))
}

func (r *ScramRecord) decode(d *reader) {
	r.User = ScramUser{Name: d.string(), Mechanism: sasl.ScramType(d.byte())}
	iterations := d.int32()
	k := sasl.Keys{Salt: []byte(d.string()), StoredKey: []byte(d.string()), ServerKey: []byte(d.string())}
	if d.err != nil {
		return
	}
	var err error
	if r.Credential, err = sasl.MakeCredential(r.User.Mechanism, int(iterations), k); err != nil {
		d.fail(err.Error())
	}
}

func (r *RemoveScram) encode(dst []byte) []byte {
	return append(putString(dst, r.User.Name), byte(r.User.Mechanism))
}

func (r *RemoveScram) decode(d *reader) {
	r.User = ScramUser{Name: d.string(), Mechanism: sasl.ScramType(d.byte())}
}

func (d *draft) ownScramMap() {
	if !d.ownScram {
		d.img.Scram, d.ownScram = maps.Clone(d.img.Scram), true
	}
	d.security = true
}

func (r *ScramRecord) apply(d *draft) error {
	if r.User.Name == "" || r.User.Mechanism != r.Credential.Type() {
		return errors.New("a credential without a user, or of another mechanism")
	}
	d.ownScramMap()
	d.img.Scram[r.User] = r.Credential
	return nil
}

func (r *RemoveScram) apply(d *draft) error {
	if _, ok := d.img.Scram[r.User]; !ok {
		return fmt.Errorf("no credential of user %q", r.User.Name)
	}
	d.ownScramMap()
	delete(d.img.Scram, r.User)
	return nil
}

// alterScram answers AlterUserScramCredentials (KIP-554): what one user's changes are is done as a whole or not at all.
func (b *Batch) alterScram(req *kmsg.AlterUserSCRAMCredentialsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.AlterUserSCRAMCredentialsResponse)
	var users []string
	problems := map[string]problem{}
	records := map[string][]Record{}
	seen := map[ScramUser]bool{}
	judge := func(u ScramUser, f func() (Record, problem)) {
		if _, ok := problems[u.Name]; !ok {
			users = append(users, u.Name)
			problems[u.Name] = problem{}
		}
		var p problem
		var r Record
		switch {
		case seen[u]:
			p = refuse(kerr.DuplicateResource, "A user credential cannot be altered twice in the same request")
		case u.Name == "":
			p = refuse(kerr.UnacceptableCredential, "Username must not be empty")
		case !u.Mechanism.Known():
			p = refuse(kerr.UnsupportedSaslMechanism, "Unknown SCRAM mechanism")
		default:
			r, p = f()
		}
		seen[u] = true
		if old := problems[u.Name]; old.code == 0 {
			problems[u.Name] = p
		}
		if r != nil {
			records[u.Name] = append(records[u.Name], r)
		}
	}
	for i := range req.Deletions {
		u := ScramUser{req.Deletions[i].Name, sasl.ScramType(req.Deletions[i].Mechanism)}
		judge(u, func() (Record, problem) {
			if _, ok := b.d.img.Scram[u]; !ok {
				return nil, refuse(kerr.ResourceNotFound, "Attempt to delete a user credential that does not exist")
			}
			return &RemoveScram{User: u}, problem{}
		})
	}
	for i := range req.Upsertions {
		c := &req.Upsertions[i]
		u := ScramUser{c.Name, sasl.ScramType(c.Mechanism)}
		judge(u, func() (Record, problem) {
			if err := sasl.CheckUser(c.Name); err != nil {
				return nil, refuse(kerr.UnacceptableCredential, "%s", err)
			}
			cred, err := sasl.FromSaltedPassword(u.Mechanism, int(c.Iterations), c.Salt, c.SaltedPassword)
			if err != nil {
				return nil, refuse(kerr.UnacceptableCredential, "%s", err)
			}
			return &ScramRecord{User: u, Credential: cred}, problem{}
		})
	}
	for _, name := range users {
		p := problems[name]
		if p.code == 0 {
			for _, r := range records[name] {
				b.add(r)
			}
		}
		out := kmsg.NewAlterUserSCRAMCredentialsResponseResult()
		out.User, out.ErrorCode, out.ErrorMessage = name, p.code, p.text()
		resp.Results = append(resp.Results, out)
	}
	return resp
}

// refuseScram is Refuse for AlterUserScramCredentials: a result for each user, once.
func refuseScram(req *kmsg.AlterUserSCRAMCredentialsRequest, e *kerr.Error) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.AlterUserSCRAMCredentialsResponse)
	message := e.Description
	seen := map[string]bool{}
	refuse := func(user string) {
		if seen[user] {
			return
		}
		seen[user] = true
		out := kmsg.NewAlterUserSCRAMCredentialsResponseResult()
		out.User, out.ErrorCode, out.ErrorMessage = user, e.Code, &message
		resp.Results = append(resp.Results, out)
	}
	for i := range req.Deletions {
		refuse(req.Deletions[i].Name)
	}
	for i := range req.Upsertions {
		refuse(req.Upsertions[i].Name)
	}
	return resp
}
