//! Who else may ask: bearers of an issuer's tokens, and pages of other origins. And who writes down what they did.

use crate::failure::{Exit, Failure};
use ballast_server::{AuditLog, CorsOrigin, JwtAlgorithm, JwtOptions, JwtVerifier, ServerOptions};
use clap::Args as ClapArgs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Tokens of an issuer.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct JwtArgs {
    /// Let in bearers of this issuer's tokens (JWT), next to keys.
    #[arg(long, value_name = "ISSUER", requires = "jwt_audience", requires = "jwt_keys")]
    jwt_issuer: Option<String>,
    /// The audience that tokens must name.
    #[arg(long, value_name = "AUDIENCE", requires = "jwt_issuer")]
    jwt_audience: Option<String>,
    /// The issuer's public keys: a file with a JSON Web Key Set. Read again when it changes; nothing is fetched.
    #[arg(long, value_name = "FILE", group = "jwt_keys", requires = "jwt_issuer")]
    jwt_jwks_file: Option<PathBuf>,
    /// A file with a secret shared with the issuer, for HS256.
    #[arg(long, value_name = "FILE", group = "jwt_keys", requires = "jwt_issuer")]
    jwt_secret_file: Option<PathBuf>,
    /// What tokens may be signed with: HS256, RS256, ES256, EdDSA.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "RS256,ES256,EdDSA,HS256")]
    jwt_algorithms: Vec<JwtAlgorithm>,
    /// How far the issuer's clock may be off.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    jwt_leeway: u64,
}

/// Pages of browsers, and the audit log.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct GuardArgs {
    /// A page's origin that may read answers, such as https://app.example, `localhost` for all pages of this machine, or `*`
    /// for all where a key is asked for; may be given again [default: none].
    #[arg(long, visible_alias = "cors-origins", value_name = "ORIGIN", value_delimiter = ',')]
    cors_origin: Vec<CorsOrigin>,
    /// Append one JSON line for each request, without its content, to this file.
    #[arg(long, value_name = "FILE")]
    audit_log: Option<PathBuf>,
}

impl JwtArgs {
    /// Who checks tokens, if any are to be taken.
    pub(crate) fn resolve(&self) -> Result<Option<Arc<JwtVerifier>>, Failure> {
        let (Some(issuer), Some(audience)) = (&self.jwt_issuer, &self.jwt_audience) else { return Ok(None) };
        let verifier = JwtVerifier::open(JwtOptions {
            issuer: issuer.clone(),
            audience: audience.clone(),
            jwks: self.jwt_jwks_file.clone(),
            secret: self.jwt_secret_file.clone(),
            algorithms: self.jwt_algorithms.iter().copied().collect(),
            leeway: Duration::from_secs(self.jwt_leeway),
        });
        let failed = |error: ballast_server::JwtError| Failure::new(Exit::of_kind(error.kind()), error.to_string());
        Ok(Some(Arc::new(verifier.map_err(failed)?)))
    }
}

impl GuardArgs {
    /// # Errors
    /// If the audit log cannot be opened, or if every page of every browser could use the server.
    pub(crate) fn apply(self, asks_for_keys: bool, options: &mut ServerOptions) -> Result<(), Failure> {
        if self.cors_origin.contains(&CorsOrigin::Any) && !asks_for_keys {
            let why = "whatever page somebody looks at could use the server";
            return Err(Failure::usage("--cors-origin '*' needs a key").because(why));
        }
        options.cors_origins = self.cors_origin;
        if let Some(path) = self.audit_log {
            let log = AuditLog::open(&path).map_err(|error| {
                Failure::failed(format!("audit log {} cannot be written", path.display())).because(error.to_string())
            })?;
            options.audit = Some(Arc::new(log));
        }
        Ok(())
    }
}
