package access

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	krb5config "github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/credentials"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
)

// kerberos logs in once for all connections and gets a ticket for each broker
// once. Where the ticket-granting ticket comes from:
//
//   - sasl_kerberos_keytab: we ask the KDC for it.
//   - otherwise the credential cache that kinit fills (KRB5CCNAME, or
//     /tmp/krb5cc_UID), which others may keep up to date;
//   - sasl_kerberos_kinit_cmd, when set, fills that cache when set, and the
//     keytab is for that command.
//
// It is safe for concurrent use; logins happen one at a time.
type kerberos struct {
	log        logrus.FieldLogger
	conf       *krb5config.Config
	confPath   string
	service    string
	principal  types.PrincipalName
	realm      string
	keytab     string
	kinit      *kinit        // nil: no command
	ccache     string        // path; empty with a keytab
	minRelogin time.Duration // between logins that renew; 0: renew when the ticket has expired

	mu       sync.Mutex
	client   *credentials.Credentials // guarded by mu; nil before the first login
	tgt      ticket                   // guarded by mu
	digest   [sha256.Size]byte        // guarded by mu; of the ccache that tgt was read from
	loggedIn time.Time                // guarded by mu
	services map[string]ticket        // guarded by mu; by service principal
}

// newKerberos checks the settings, without asking the KDC; its error is permanent.
func newKerberos(c *config.Config, log logrus.FieldLogger) (mechanism, error) {
	k := &kerberos{
		log:        log,
		service:    c.SASLKerberosServiceName,
		keytab:     c.SASLKerberosKeytab,
		minRelogin: c.SASLKerberosMinTimeBeforeRelogin,
		services:   make(map[string]ticket),
	}
	if k.service == "" {
		k.service = "kafka" // librdkafka's default, so upstream's
	}
	var err error
	if k.conf, k.confPath, err = loadKrb5Conf(); err != nil {
		return nil, err
	}
	if c.SASLKerberosKinitCmd != "" {
		if k.kinit, err = newKinit(c); err != nil {
			return nil, err
		}
		k.keytab = ""
	}
	k.setPrincipal(c.SASLKerberosPrincipal)
	if k.keytab == "" {
		k.ccache, err = ccachePath()
		return k, err
	}
	if c.SASLKerberosPrincipal == "" {
		return nil, &ConfigError{Key: "sasl_kerberos_principal", Problem: "missing: a keytab holds keys of several principals"}
	}
	if k.realm == "" {
		return nil, &ConfigError{Key: "sasl_kerberos_principal",
			Problem: fmt.Sprintf("%q names no realm and %s has no default_realm: write name@REALM", c.SASLKerberosPrincipal, k.confPath)}
	}
	_, err = k.loadKeytab()
	return k, err
}

func (k *kerberos) setPrincipal(s string) {
	name, realm, ok := strings.Cut(s, "@")
	if !ok || realm == "" {
		realm = k.conf.LibDefaults.DefaultRealm
	}
	k.principal = types.NewPrincipalName(nametype.KRB_NT_PRINCIPAL, name)
	k.realm = realm
}

func (k *kerberos) name() string { return k.principal.PrincipalNameString() + "@" + k.realm }

// loadKeytab reads the keytab and checks that it has our key.
func (k *kerberos) loadKeytab() (*keytab.Keytab, error) {
	data, err := os.ReadFile(k.keytab)
	if err != nil {
		return nil, fileError("sasl_kerberos_keytab", err)
	}
	kt := keytab.New()
	if err := safely(func() error { return kt.Unmarshal(data) }); err != nil {
		return nil, &ConfigError{Key: "sasl_kerberos_keytab", Problem: quoted(k.keytab) + " is not a keytab", Err: err}
	}
	var others []string
	for _, e := range kt.Entries {
		name := strings.Join(e.Principal.Components, "/") + "@" + e.Principal.Realm
		if name == k.name() {
			return kt, nil
		}
		if !slices.Contains(others, name) {
			others = append(others, name)
		}
	}
	return nil, &ConfigError{Key: "sasl_kerberos_keytab",
		Problem: fmt.Sprintf("%q has no key of %s (sasl_kerberos_principal), only of %s", k.keytab, k.name(), strings.Join(others, ", "))}
}

// ticketFor returns a ticket for the broker on host, logging in first if that is
// due. cached: it is not new.
func (k *kerberos) ticketFor(ctx context.Context, host string) (t ticket, cached bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.login(ctx, host); err != nil {
		return ticket{}, false, err
	}
	spn := k.service + "/" + host
	if t, ok := k.services[spn]; ok && t.valid() {
		return t, true, nil
	}
	if t, err = k.serviceTicket(ctx, spn); err != nil {
		return ticket{}, false, err
	}
	k.services[spn] = t
	return t, false, nil
}

func (k *kerberos) forget(host string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.services, k.service+"/"+host)
}

func (k *kerberos) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.client, k.tgt, k.services = nil, ticket{}, map[string]ticket{}
}

// login makes sure that there is a valid ticket-granting ticket. A failed renewal is no
// error while the old ticket is valid.
func (k *kerberos) login(ctx context.Context, host string) error {
	had := k.client != nil && k.tgt.valid()
	due := k.minRelogin > 0 && time.Since(k.loggedIn) >= k.minRelogin
	var err error
	switch {
	case k.kinit != nil:
		if !had || due {
			err = k.runKinit(ctx, host)
		}
	case k.keytab != "":
		if !had || due && k.tgt.renewalDue() {
			err = k.loginWithKeytab(ctx)
		}
	default:
		err = k.readCCache()
	}
	if err != nil && had {
		k.log.WithError(err).Warn("the Kerberos ticket is not renewed")
		k.loggedIn = time.Now() // not at each connection
		return nil
	}
	return err
}

// loginWithKeytab gets a ticket-granting ticket from the KDC (RFC 4120, 3.1).
func (k *kerberos) loginWithKeytab(ctx context.Context) error {
	kt, err := k.loadKeytab()
	if err != nil {
		return err
	}
	client := credentials.NewFromPrincipalName(k.principal, k.realm).WithKeytab(kt)
	tgt, err := requestTGT(ctx, k.conf, client)
	if err != nil {
		return err
	}
	k.replace(client, tgt)
	return nil
}

// replace begins a new session.
func (k *kerberos) replace(client *credentials.Credentials, tgt ticket) {
	k.client, k.tgt, k.loggedIn = client, tgt, time.Now()
	clear(k.services)
}

func (k *kerberos) runKinit(ctx context.Context, host string) error {
	if err := k.kinit.run(ctx, host); err != nil {
		return err
	}
	k.digest = [sha256.Size]byte{} // take what it left, also if that is what we have
	return k.readCCache()
}

// maxCCache is how much of a credential cache is read.
const maxCCache = 16 << 20

// openCCache opens a credential cache. It is usually in /tmp, where other users may
// have put something under its name: their own tickets, or a pipe that would block us.
func openCCache(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, &ConfigError{Key: "sasl_kerberos_keytab",
			Problem: "not set, and there is no ticket from kinit either: set it, or run kinit", Err: err}
	}
	info, err := file.Stat()
	if err == nil {
		err = usableCCache(path, info)
	}
	if err != nil {
		_ = file.Close() // it was only opened
		return nil, err
	}
	return file, nil
}

// usableCCache rejects what is not a regular file, and other users' files.
func usableCCache(path string, info os.FileInfo) error {
	problem := ""
	if !info.Mode().IsRegular() {
		problem = "is not a regular file"
	} else if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		problem = fmt.Sprintf("belongs to user %d, neither to us (%d) nor to root", st.Uid, os.Geteuid())
	}
	if problem == "" {
		return nil
	}
	return &ConfigError{Key: "sasl_kerberos_keytab",
		Problem: fmt.Sprintf("not set, and credential cache %q %s: remove it, name another one (KRB5CCNAME), or set a keytab", path, problem)}
}

// readCCache takes the ticket that kinit left, if it changed.
func (k *kerberos) readCCache() error {
	file, err := openCCache(k.ccache)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // it was only read
	data, err := io.ReadAll(io.LimitReader(file, maxCCache))
	if err != nil {
		return fmt.Errorf("credential cache: %w", err)
	}
	digest := sha256.Sum256(data)
	if digest == k.digest && k.client != nil {
		return k.checkExpiry()
	}
	cc := new(credentials.CCache)
	if err := safely(func() error { return cc.Unmarshal(data) }); err != nil {
		return &ConfigError{Key: "sasl_kerberos_kinit_cmd", Problem: quoted(k.ccache) + " is not a credential cache", Err: err}
	}
	realm := cc.GetClientRealm()
	if holder := cc.GetClientPrincipalName().PrincipalNameString() + "@" + realm; k.principal.PrincipalNameString() != "" && holder != k.name() {
		return &ConfigError{Key: "sasl_kerberos_principal",
			Problem: fmt.Sprintf("%s is configured, but credential cache %q is %s's: run kinit for it, or name another cache (KRB5CCNAME)", k.name(), k.ccache, holder)}
	}
	cred, ok := cc.GetEntry(types.PrincipalName{NameType: nametype.KRB_NT_SRV_INST, NameString: []string{"krbtgt", realm}})
	if !ok {
		return fmt.Errorf("credential cache %q holds no ticket-granting ticket of realm %s: run kinit", k.ccache, realm)
	}
	var tgt messages.Ticket
	if err := tgt.Unmarshal(cred.Ticket); err != nil {
		return fmt.Errorf("credential cache %q: %w", k.ccache, err)
	}
	k.digest = digest
	k.replace(cc.GetClientCredentials(), ticket{Ticket: tgt, key: cred.Key, start: cred.AuthTime, end: cred.EndTime})
	return k.checkExpiry()
}

// expiredTicketError reports a cache whose ticket nobody renewed. It is temporary.
type expiredTicketError struct {
	path string
	end  time.Time
}

func (e *expiredTicketError) Error() string {
	return fmt.Sprintf("the ticket in credential cache %q expired on %s: run kinit, or set sasl_kerberos_keytab",
		e.path, e.end.UTC().Format(time.RFC3339))
}

func (k *kerberos) checkExpiry() error {
	if !k.tgt.valid() {
		return &expiredTicketError{k.ccache, k.tgt.end}
	}
	return nil
}

// serviceTicket gets a ticket for a service from the KDC (RFC 4120, 3.3), by way
// of that service's realm where krb5.conf says that it is another.
func (k *kerberos) serviceTicket(ctx context.Context, spn string) (ticket, error) {
	tgt, realm := k.tgt, k.client.Realm()
	_, host, _ := strings.Cut(spn, "/")
	if other := k.conf.ResolveRealm(host); other != "" && other != realm {
		var err error
		if tgt, err = requestTicket(ctx, k.conf, k.client, realm, tgt,
			types.PrincipalName{NameType: nametype.KRB_NT_SRV_INST, NameString: []string{"krbtgt", other}}); err != nil {
			return ticket{}, err
		}
		realm = other
	}
	return requestTicket(ctx, k.conf, k.client, realm, tgt, types.NewPrincipalName(nametype.KRB_NT_PRINCIPAL, spn))
}

// loadKrb5Conf reads KRB5_CONFIG, or /etc/krb5.conf.
func loadKrb5Conf() (*krb5config.Config, string, error) {
	path := "/etc/krb5.conf"
	if env := os.Getenv("KRB5_CONFIG"); env != "" {
		path = filepath.SplitList(env)[0]
	}
	text, err := readKrb5Conf(path, 0)
	if err != nil {
		return nil, path, &ConfigError{Key: "sasl_mechanism", Problem: "GSSAPI needs Kerberos' configuration (KRB5_CONFIG names another file)", Err: err}
	}
	conf, err := krb5config.NewFromString(text)
	if err != nil {
		return nil, path, &ConfigError{Key: "sasl_mechanism", Problem: "Kerberos' configuration " + quoted(path), Err: err}
	}
	return conf, path, nil
}

// maxIncludes bounds files that include each other.
const maxIncludes = 10

// readKrb5Conf reads the file with those it includes, which the library does not.
func readKrb5Conf(path string, depth int) (string, error) {
	if depth > maxIncludes {
		return "", fmt.Errorf("%s: more than %d files include each other", path, maxIncludes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for line := range strings.Lines(string(data)) {
		directive, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
		arg = strings.TrimSpace(arg)
		switch directive {
		case "include":
			text, err := readKrb5Conf(arg, depth+1)
			if err != nil {
				return "", err
			}
			out.WriteString(text)
		case "includedir":
			entries, err := os.ReadDir(arg)
			if err != nil {
				continue // as MIT Kerberos: an absent directory is an empty one
			}
			for _, e := range entries {
				if !includable(e.Name()) {
					continue
				}
				text, err := readKrb5Conf(filepath.Join(arg, e.Name()), depth+1)
				if err != nil {
					return "", err
				}
				out.WriteString(text + "\n")
			}
		case "module":
		default:
			out.WriteString(line)
		}
	}
	return out.String() + "\n", nil
}

// includable follows krb5.conf(5): letters, digits, - and _, or ending in .conf.
func includable(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	return strings.HasSuffix(name, ".conf") || !strings.ContainsFunc(name, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_'
	})
}

// ccachePath is where kinit stores its ticket.
func ccachePath() (string, error) {
	name := os.Getenv("KRB5CCNAME")
	if name == "" {
		return fmt.Sprintf("/tmp/krb5cc_%d", os.Getuid()), nil
	}
	if kind, path, ok := strings.Cut(name, ":"); ok && !filepath.IsAbs(name) {
		if kind != "FILE" {
			return "", &ConfigError{Key: "sasl_kerberos_keytab",
				Problem: fmt.Sprintf("not set, and KRB5CCNAME names a credential cache that is no file (%s): set it, or use FILE:", kind)}
		}
		return path, nil
	}
	return name, nil
}
