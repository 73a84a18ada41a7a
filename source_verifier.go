package millrace

// Verifier says how a webhook proves where it comes from; which of the three
// is used, Type says. A provider uses the secret of HMAC.
type Verifier struct {
	Type   VerifierType    `json:"type"`
	HMAC   *HMACVerifier   `json:"hmac,omitempty"`
	Basic  *BasicVerifier  `json:"basic_auth,omitempty"`
	APIKey *APIKeyVerifier `json:"api_key,omitempty"`
}

// VerifierType is a way to verify, from a closed list.
type VerifierType string

// The closed list of verifiers.
const (
	VerifyNothing VerifierType = "noop"
	VerifyHMAC    VerifierType = "hmac"
	VerifyBasic   VerifierType = "basic_auth"
	VerifyAPIKey  VerifierType = "api_key"
)

// HMACVerifier compares a header with the HMAC of the raw body.
type HMACVerifier struct {
	Header   string    `json:"header,omitempty"`
	Hash     string    `json:"hash,omitempty"`     // SHA256 or SHA512
	Encoding string    `json:"encoding,omitempty"` // hex or base64
	Secret   Sensitive `json:"secret"`
}

// BasicVerifier compares HTTP's basic authentication.
type BasicVerifier struct {
	Username string    `json:"username"`
	Password Sensitive `json:"password"`
}

// APIKeyVerifier compares a header with a value.
type APIKeyVerifier struct {
	Header string    `json:"header_name"`
	Value  Sensitive `json:"header_value"`
}

func (v Verifier) secrets(into map[string]*Sensitive) {
	if v.HMAC != nil {
		into["verifier.hmac.secret"] = &v.HMAC.Secret
	}
	if v.Basic != nil {
		into["verifier.basic_auth.password"] = &v.Basic.Password
	}
	if v.APIKey != nil {
		into["verifier.api_key.header_value"] = &v.APIKey.Value
	}
}

func (v Verifier) check(p Provider) error {
	if p != ProviderNone {
		if v.HMAC == nil || v.HMAC.Secret == "" {
			return Missing("verifier.hmac.secret")
		}
		return nil
	}
	switch v.Type {
	case VerifyNothing, "":
		return nil
	case VerifyHMAC:
		return v.HMAC.check()
	case VerifyBasic:
		if v.Basic == nil || v.Basic.Username == "" || v.Basic.Password == "" {
			return JoinFaults(Missing("verifier.basic_auth.username"), Missing("verifier.basic_auth.password"))
		}
		return nil
	case VerifyAPIKey:
		if v.APIKey == nil || v.APIKey.Value == "" || v.APIKey.Header == "" {
			return JoinFaults(Missing("verifier.api_key.header_name"), Missing("verifier.api_key.header_value"))
		}
		return nil
	}
	return Invalid("verifier.type", "must be noop, hmac, basic_auth or api_key, not %q", v.Type)
}

func (h *HMACVerifier) check() error {
	if h == nil {
		return Missing("verifier.hmac")
	}
	var faults []error
	if h.Header == "" {
		faults = append(faults, Missing("verifier.hmac.header"))
	}
	if h.Secret == "" {
		faults = append(faults, Missing("verifier.hmac.secret"))
	}
	if h.Hash != "SHA256" && h.Hash != "SHA512" {
		faults = append(faults, Invalid("verifier.hmac.hash", "must be SHA256 or SHA512, not %q", h.Hash))
	}
	if h.Encoding != "hex" && h.Encoding != "base64" {
		faults = append(faults, Invalid("verifier.hmac.encoding", "must be hex or base64, not %q", h.Encoding))
	}
	return JoinFaults(faults...)
}
