package millrace

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"
)

func validEndpoint() Endpoint {
	e := DefaultEndpoint()
	e.Name, e.URL = "orders", "https://example.com/hook"
	e.Secrets = []Secret{{Value: NewSecret()}}
	return e
}

func TestAnEndpointThatSetsNothingHasTheDefaults(t *testing.T) {
	e := DefaultEndpoint()
	if e.Timeout != 10*time.Second || e.Method != "POST" || e.ContentType != "application/json" || e.Status != EndpointActive {
		t.Errorf("defaults are %+v", e)
	}
	if !e.AdvancedSignatures || len(e.SignatureSchemes) != 1 || e.SignatureSchemes[0] != "v1" {
		t.Errorf("signatures default to %v, advanced %v", e.SignatureSchemes, e.AdvancedSignatures)
	}
	if err := validEndpoint().Validate(); err != nil {
		t.Errorf("an endpoint of defaults, a name and a URL is refused: %v", err)
	}
}

func TestEndpointsAreRefusedForWhatIsWrongWithThem(t *testing.T) {
	certificate, key := selfSigned(t)
	_, otherKey := selfSigned(t)
	for name, c := range map[string]struct {
		change func(*Endpoint)
		field  string
		code   Code
	}{
		"a name is needed":                  {func(e *Endpoint) { e.Name = "" }, "name", CodeBadRequest},
		"a URL is needed":                   {func(e *Endpoint) { e.URL = "" }, "url", CodeBadRequest},
		"a name is bounded":                 {func(e *Endpoint) { e.Name = strings.Repeat("ä", 256) }, "name", CodeInvalid},
		"a text has no NUL":                 {func(e *Endpoint) { e.Description = "a\x00b" }, "description", CodeInvalid},
		"a text is UTF-8":                   {func(e *Endpoint) { e.OwnerID = "a\xffb" }, "owner_id", CodeInvalid},
		"GET is no way to deliver":          {func(e *Endpoint) { e.Method = "GET" }, "http_method", CodeInvalid},
		"a deadline is at most a minute":    {func(e *Endpoint) { e.Timeout = time.Minute + 1 }, "http_timeout", CodeInvalid},
		"a deadline is in the future":       {func(e *Endpoint) { e.Timeout = -1 }, "http_timeout", CodeInvalid},
		"a content type is on the list":     {func(e *Endpoint) { e.ContentType = "text/xml" }, "content_type", CodeInvalid},
		"v1 is always sent":                 {func(e *Endpoint) { e.SignatureSchemes = []string{"v1a"} }, "signature_schemes", CodeInvalid},
		"a scheme is known":                 {func(e *Endpoint) { e.SignatureSchemes = []string{"v1", "v2"} }, "signature_schemes", CodeInvalid},
		"a scheme is named once":            {func(e *Endpoint) { e.SignatureSchemes = []string{"v1", "v1"} }, "signature_schemes", CodeInvalid},
		"a prefixed secret is base64":       {func(e *Endpoint) { e.Secrets[0].Value = "whsec_!" }, "secret", CodeInvalid},
		"a prefixed secret has a key":       {func(e *Endpoint) { e.Secrets[0].Value = "whsec_" }, "secret", CodeInvalid},
		"secrets are bounded":               {func(e *Endpoint) { e.Secrets = make([]Secret, MaxSecrets+1) }, "secret", CodeInvalid},
		"a signing key is ed25519":          {func(e *Endpoint) { e.SigningKey = "whsk_AAAA" }, "signing_key", CodeInvalid},
		"a state is on the list":            {func(e *Endpoint) { e.Status = "sleeping" }, "status", CodeInvalid},
		"a strategy is judged":              {func(e *Endpoint) { e.Strategy = &Strategy{Type: "never"} }, "strategy.type", CodeInvalid},
		"an e-mail address is one":          {func(e *Endpoint) { e.SupportEmail = "nobody" }, "support_email", CodeInvalid},
		"a CA bundle is PEM":                {func(e *Endpoint) { e.CACert = "x" }, "ca_cert", CodeInvalid},
		"an authentication is known":        {func(e *Endpoint) { e.Authentication = &Authentication{Type: "digest"} }, "authentication.type", CodeInvalid},
		"a certificate and key are a pair":  {func(e *Endpoint) { e.ClientCert = &ClientCert{Cert: certificate, Key: otherKey} }, "mtls_client_cert", CodeInvalid},
		"a certificate needs its key":       {func(e *Endpoint) { e.ClientCert = &ClientCert{Cert: certificate} }, "mtls_client_cert.client_key", CodeBadRequest},
		"its own key is taken":              {func(e *Endpoint) { e.ClientCert = &ClientCert{Cert: certificate, Key: key} }, "", ""},
		"a secret may be any characters":    {func(e *Endpoint) { e.Secrets[0].Value = "hunter2" }, "", ""},
		"v1a may be asked for":              {func(e *Endpoint) { e.SignatureSchemes = []string{"v1", "v1a"}; e.SigningKey = NewSigningKey() }, "", ""},
		"a header to authenticate is named": {func(e *Endpoint) { e.Authentication = apiKeyAuth("", "v") }, "authentication.api_key.header_name", CodeBadRequest},
		"a header to authenticate is one":   {func(e *Endpoint) { e.Authentication = apiKeyAuth("X Y", "v") }, "authentication.api_key.header_name", CodeInvalid},
		"a header's value is one line":      {func(e *Endpoint) { e.Authentication = apiKeyAuth("X-Y", "v\r\nHost: x") }, "authentication.api_key.header_value", CodeInvalid},
		"a grant needs its secret": {func(e *Endpoint) {
			e.Authentication = &Authentication{Type: AuthOAuth2, OAuth2: &OAuth2{URL: "https://id.example", ClientID: "c", AuthenticationType: "shared_secret"}}
		}, "authentication.oauth2.client_secret", CodeBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			e := validEndpoint()
			c.change(&e)
			wantFault(t, e.Validate(), c.field, c.code)
		})
	}
}

func TestAllFaultsAreNamedAtOnce(t *testing.T) {
	e := validEndpoint()
	e.Name, e.Method, e.Strategy = "", "GET", &Strategy{Type: StrategyLinear, Retries: -1}
	var refused *Error
	if !errors.As(e.Validate(), &refused) {
		t.Fatal("nothing is refused")
	}
	var fields []string
	for _, f := range refused.Fields {
		fields = append(fields, f.Field)
	}
	if got, want := strings.Join(fields, " "), "name http_method strategy.duration strategy.retry_count"; got != want {
		t.Errorf("faults are in %q, want %q", got, want)
	}
	if refused.Code != CodeBadRequest {
		t.Errorf("code is %s, want %s for a missing member", refused.Code, CodeBadRequest)
	}
}

func TestNoFaultIsNil(t *testing.T) {
	if err := JoinFaults(nil, JoinFaults(), errors.Join(nil)); err != nil {
		t.Errorf("no fault makes %v", err)
	}
}

func TestAFaultOfOursIsNotTakenForOneOfTheirs(t *testing.T) {
	ours := errors.New("disk on fire")
	err := JoinFaults(ours, Missing("name"))
	if !errors.Is(err, ours) {
		t.Errorf("%v has lost %v", err, ours)
	}
}

func TestRefusalsShowNoSecret(t *testing.T) {
	const secret = "do-not-show-this\n"
	e := validEndpoint()
	e.Secrets = []Secret{{Value: "whsec_" + secret}}
	e.SigningKey = "whsk_" + secret
	e.Authentication = apiKeyAuth("X-Key", secret)
	e.ClientCert = &ClientCert{Cert: "x", Key: secret}
	if text := e.Validate().Error(); strings.Contains(text, "do-not-show-this") {
		t.Errorf("the refusal shows a secret: %s", text)
	}
}

func TestTheVerifyingKeyBelongsToTheSigningKey(t *testing.T) {
	// From the Standard Webhooks test vectors.
	e := Endpoint{SigningKey: "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="}
	if got, want := e.VerifyingKey(), "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="; got != want {
		t.Errorf("verifying key is %s, want %s", got, want)
	}
	private, err := ParseSigningKey(NewSigningKey())
	if err != nil || !ed25519.Verify(private.Public().(ed25519.PublicKey), []byte("m"), ed25519.Sign(private, []byte("m"))) {
		t.Errorf("a new signing key does not sign: %v", err)
	}
	if (Endpoint{}).VerifyingKey() != "" {
		t.Error("an endpoint without a signing key has a verifying key")
	}
}

func TestSubscriptionsAreRefusedForWhatIsWrongWithThem(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Subscription)
		field  string
		code   Code
	}{
		"a name is needed":                {func(s *Subscription) { s.Name = "" }, "name", CodeBadRequest},
		"an endpoint is needed":           {func(s *Subscription) { s.EndpointID = ID{} }, "endpoint_id", CodeBadRequest},
		"no type at all is every type":    {func(s *Subscription) { s.EventTypes = nil }, "", ""},
		"a star is every type":            {func(s *Subscription) { s.EventTypes = []string{"*"} }, "", ""},
		"a prefix ends in a dot and star": {func(s *Subscription) { s.EventTypes = []string{"order.item.*"} }, "", ""},
		"a star elsewhere is refused":     {func(s *Subscription) { s.EventTypes = []string{"or*er"} }, "filter_config.event_types", CodeInvalid},
		"a star without a dot is refused": {func(s *Subscription) { s.EventTypes = []string{"order*"} }, "filter_config.event_types", CodeInvalid},
		"an empty prefix is refused":      {func(s *Subscription) { s.EventTypes = []string{".*"} }, "filter_config.event_types", CodeInvalid},
		"an empty type is refused":        {func(s *Subscription) { s.EventTypes = []string{""} }, "filter_config.event_types", CodeInvalid},
		"a filter part is an object":      {func(s *Subscription) { s.Filter.Body = []byte(`["a"]`) }, "filter_config.filter.body", CodeInvalid},
		"a filter part is JSON":           {func(s *Subscription) { s.Filter.Headers = []byte(`{"a"`) }, "filter_config.filter.headers", CodeInvalid},
		"a null filter part is none":      {func(s *Subscription) { s.Filter.Headers = []byte(`null`) }, "", ""},
		"a mode is on the list":           {func(s *Subscription) { s.DeliveryMode = "twice" }, "delivery_mode", CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			s := Subscription{Name: "all", EndpointID: NewID(time.Now()), EventTypes: []string{"order.paid"}}
			c.change(&s)
			wantFault(t, s.Validate(), c.field, c.code)
		})
	}
}

func TestProjectsAreRefusedForWhatIsWrongWithThem(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Project)
		field  string
		code   Code
	}{
		"the defaults are good":           {func(*Project) {}, "", ""},
		"a name is needed":                {func(p *Project) { p.Name = "" }, "name", CodeBadRequest},
		"a type is on the list":           {func(p *Project) { p.Type = "sideways" }, "type", CodeInvalid},
		"an ack level is on the list":     {func(p *Project) { p.Config.Ack = "maybe" }, "config.ack", CodeInvalid},
		"a signature has a header":        {func(p *Project) { p.Config.Signature.Header = "" }, "config.signature.header", CodeBadRequest},
		"a signature has a version":       {func(p *Project) { p.Config.Signature.Versions = nil }, "config.signature.versions", CodeInvalid},
		"a hash is on the list":           {func(p *Project) { p.Config.Signature.Versions[0].Hash = "MD5" }, "config.signature.versions", CodeInvalid},
		"a strategy is judged":            {func(p *Project) { p.Config.Strategy = &Strategy{} }, "strategy.type", CodeInvalid},
		"what is kept for later is JSON":  {func(p *Project) { p.Config.Other = map[string]json.RawMessage{"x": []byte("{")} }, "config.x", CodeInvalid},
		"what is kept for later has no 0": {func(p *Project) { p.Config.Other = map[string]json.RawMessage{"x": []byte(`"\u0000"`)} }, "config.x", CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			p := Project{Name: "shop", Type: "outgoing", Config: DefaultProjectConfig()}
			c.change(&p)
			wantFault(t, p.Validate(), c.field, c.code)
		})
	}
}

func apiKeyAuth(header string, value Sensitive) *Authentication {
	return &Authentication{Type: AuthAPIKey, APIKey: &APIKeyAuth{Header: header, Value: value}}
}

// wantFault wants exactly that field refused, or nothing where it is empty.
func wantFault(t *testing.T, err error, field string, code Code) {
	t.Helper()
	if field == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	var refused *Error
	if !errors.As(err, &refused) {
		t.Fatalf("got %v, want a refusal of %s", err, field)
	}
	if refused.Code != code || !strings.HasPrefix(refused.Fields[0].Field, field) {
		t.Errorf("refused %s in %+v, want %s in %s", refused.Code, refused.Fields, code, field)
	}
}

func selfSigned(t *testing.T) (certificate string, key Sensitive) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	coded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return certificate, Sensitive(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: coded}))
}
