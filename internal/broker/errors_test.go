package broker

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
)

// exportedErrors finds the error sentinels and error types of a package in its source.
func exportedErrors(t *testing.T, dir string) (found []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		src, err := os.ReadFile(file)
		require.NoError(t, err)
		f, err := parser.ParseFile(token.NewFileSet(), file, src, 0)
		require.NoError(t, err)
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if v, ok := s.(*ast.ValueSpec); ok && d.Tok == token.VAR {
						for _, name := range v.Names {
							if strings.HasPrefix(name.Name, "Err") {
								found = append(found, f.Name.Name+"."+name.Name)
							}
						}
					}
				}
			case *ast.FuncDecl:
				if d.Name.Name == "Error" && d.Recv != nil && ast.IsExported(receiver(d)) {
					found = append(found, f.Name.Name+"."+receiver(d))
				}
			}
		}
	}
	return found
}

// sentinelsInTable finds which sentinels the table's source names.
func sentinelsInTable(t *testing.T) map[string]bool {
	t.Helper()
	src, err := os.ReadFile("errors.go")
	require.NoError(t, err)
	names := make(map[string]bool)
	for _, m := range regexp.MustCompile(`err: (\w+\.Err\w+)`).FindAllStringSubmatch(string(src), -1) {
		names[m[1]] = true
	}
	return names
}

func receiver(d *ast.FuncDecl) string {
	e := d.Recv.List[0].Type
	if s, ok := e.(*ast.StarExpr); ok {
		e = s.X
	}
	return e.(*ast.Ident).Name
}

// TestEveryErrorHasACode fails when a lower layer has an error that the table does not know.
func TestEveryErrorHasACode(t *testing.T) {
	// Errors that no request can meet: they end a node's start, or concern a follower and its leader's data only.
	notForClients := map[string]bool{
		"log.ErrDirectoryLocked": true, "log.IdentityError": true, "log.ForeignDirectoryError": true,
		"log.AppendOffsetError": true, "log.AppendEpochError": true,
	}
	inTable := make(map[string]bool)
	for _, row := range errorCodes {
		if row.match != nil {
			inTable[reflect.TypeOf(row.err).Elem().String()] = true
		}
	}
	sentinels := func(name string) bool { return strings.HasPrefix(name[strings.Index(name, ".")+1:], "Err") }
	for _, dir := range []string{"../../replication", "../../log", "../../log/record", "../groups", "../groups/machine"} {
		found := exportedErrors(t, dir)
		require.NotEmpty(t, found)
		rows := 0
		for _, name := range found {
			switch {
			case notForClients[name]:
			case sentinels(name):
				rows++
			default:
				assert.True(t, inTable[name], "%s is not in the table", name)
			}
		}
		have := 0
		for name := range sentinelsInTable(t) {
			if strings.HasPrefix(name, found[0][:strings.Index(found[0], ".")+1]) {
				have++
			}
		}
		assert.Equal(t, rows, have, "sentinels of %s in the table, of %v", dir, found)
	}
}

func TestErrorsAndCodesBothWays(t *testing.T) {
	seen := make(map[int16]bool)
	for _, row := range errorCodes {
		assert.Equal(t, row.kafka.Code, codeOf(row.err), "%v", row.err)
		assert.Equal(t, row.kafka.Code, codeOf(fmt.Errorf("wrapped: %w", row.err)), "%v", row.err)
		if !row.back {
			continue
		}
		assert.False(t, seen[row.kafka.Code], "%v comes back as two errors", row.kafka)
		seen[row.kafka.Code] = true
		assert.Same(t, row.err, errorOf(row.kafka.Code))
	}
	for code := int16(-1); code < 140; code++ {
		err := errorOf(code)
		if code == 0 {
			assert.NoError(t, err)
			continue
		}
		require.Error(t, err)
		if want := kerr.ErrorForCode(code); want == kerr.UnknownServerError {
			assert.ErrorIs(t, err, kerr.UnknownServerError)
		} else {
			assert.Equal(t, code, codeOf(err), "%v does not come back as itself", want)
		}
	}
	assert.Equal(t, int16(0), codeOf(nil))
	assert.Equal(t, kerr.UnknownServerError.Code, codeOf(errors.New("anything")))
}
