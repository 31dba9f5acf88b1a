//! Tables of who is asked for what, and of what pgweir can answer a server.

use std::sync::Arc;

use super::credential::{Learned, ServerLogin};
use super::md5::Md5Secret;
use super::mock::MockSecret;
use super::scram::{Mechanism, Offer};
use super::scram_client::{Credential, ScramClient};
use super::scram_keys::{ClientKeys, Verifier};
use super::scram_server::ScramServer;
use super::verify::{Channel, Claim, Plan, Planned, plan};
use super::{AuthMethod, Secret};

const TLS: Channel<'static> = Channel::Tls { binding: Some(&[7; 32]), common_name: Some("app") };
const NO_CERT: Channel<'static> = Channel::Tls { binding: None, common_name: None };

fn plain() -> Secret {
    Secret::Plain("pencil".into())
}

fn md5() -> Secret {
    Secret::from_stored("md5".to_owned() + &stored_md5())
}

/// md5 of `pencilapp`, as PostgreSQL stores it.
fn stored_md5() -> String {
    use md5::{Digest, Md5};
    format!("{:x}", Md5::digest("pencilapp"))
}

fn scram() -> Secret {
    Secret::from_stored(Verifier::derive(b"pencil", b"salt", 3).to_text())
}

fn mock() -> MockSecret {
    MockSecret::new([1; 32]).with_iterations(3)
}

fn planned(method: AuthMethod, secret: Option<&Secret>, channel: Channel<'_>) -> Planned {
    let claim = Claim { user: "app", secret, verifier: None, channel };
    plan(method, claim, &mock()).expect("a plan")
}

/// Whether somebody who knows `password` gets in by this plan.
fn lets_in(plan: &Plan, password: &str) -> bool {
    match plan {
        Plan::Scram { verifier, binding } => {
            let mut server = ScramServer::new(verifier.clone(), binding.clone(), [1; 18]);
            let credential = Credential::Password { password: password.into(), cached: None };
            let mut client = ScramClient::new(credential, server.offer(), binding.clone(), [2; 18]).unwrap();
            let (mechanism, first) = client.first();
            let challenge = server.client_first(mechanism, &first).unwrap();
            let last = client.server_first(&challenge).unwrap();
            server.client_final(&last).is_ok()
        }
        Plan::Md5(secret) => {
            let answer = Md5Secret::derive(password.as_bytes(), "app").response([1, 2, 3, 4]);
            secret.accepts([1, 2, 3, 4], answer.as_bytes())
        }
        Plan::Cleartext(check) => check.accepts(password.as_bytes()),
        Plan::Cert | Plan::Trust => true,
    }
}

fn name(plan: &Plan) -> &'static str {
    match plan {
        Plan::Scram { binding: Some(_), .. } => "scram-plus",
        Plan::Scram { .. } => "scram",
        Plan::Md5(_) => "md5",
        Plan::Cleartext(_) => "cleartext",
        Plan::Cert => "cert",
        Plan::Trust => "trust",
    }
}

#[test]
fn every_method_with_every_secret() {
    use AuthMethod::{Cleartext, Md5, Scram};
    let (plain, md5, scram) = (plain(), md5(), scram());
    let cases = [
        (Scram, Some(&plain), Channel::Plain, "scram", true),
        (Scram, Some(&plain), TLS, "scram-plus", true),
        (Scram, Some(&plain), NO_CERT, "scram", true),
        (Scram, Some(&scram), Channel::Unix, "scram", true),
        (Scram, Some(&scram), TLS, "scram-plus", true),
        (Scram, Some(&md5), TLS, "scram-plus", false),
        (Scram, None, TLS, "scram-plus", false),
        (Scram, None, Channel::Plain, "scram", false),
        (Md5, Some(&plain), Channel::Plain, "md5", true),
        (Md5, Some(&md5), Channel::Plain, "md5", true),
        (Md5, Some(&scram), Channel::Plain, "scram", true),
        (Md5, None, Channel::Plain, "md5", false),
        (Cleartext, Some(&plain), TLS, "cleartext", true),
        (Cleartext, Some(&md5), NO_CERT, "cleartext", true),
        (Cleartext, Some(&scram), Channel::Unix, "cleartext", true),
        (Cleartext, None, TLS, "cleartext", false),
    ];
    for (method, secret, channel, asked, possible) in cases {
        let planned = planned(method, secret, channel);
        let case = (method, secret, channel);
        assert_eq!(name(&planned.plan), asked, "{case:?}");
        assert_eq!(planned.doomed.is_none(), possible, "{case:?}");
        assert_eq!(lets_in(&planned.plan, "pencil"), possible, "{case:?}");
        for wrong in ["Pencil", "pencil ", "", "md5"] {
            assert!(!lets_in(&planned.plan, wrong), "{case:?} {wrong}");
        }
    }
}

#[test]
fn empty_passwords_and_zero_bytes_let_nobody_in() {
    for method in [AuthMethod::Scram, AuthMethod::Md5, AuthMethod::Cleartext] {
        let planned = planned(method, Some(&Secret::Plain(String::new())), TLS);
        assert!(planned.doomed.is_some() && !lets_in(&planned.plan, ""));
    }
    for secret in [plain(), md5(), scram()] {
        let planned = planned(AuthMethod::Cleartext, Some(&secret), TLS);
        assert!(!lets_in(&planned.plan, "pencil\0"), "{}", secret.kind());
    }
}

#[test]
fn a_stored_secret_is_not_its_own_password() {
    for secret in [md5(), scram()] {
        let (Secret::Md5(text) | Secret::Scram(text) | Secret::Plain(text)) = &secret;
        for method in [AuthMethod::Scram, AuthMethod::Md5, AuthMethod::Cleartext] {
            assert!(!lets_in(&planned(method, Some(&secret), TLS).plan, text));
        }
    }
}

#[test]
fn secrets_that_do_not_parse_let_nobody_in() {
    for secret in [Secret::Md5("x".into()), Secret::Scram("x".into())] {
        for method in [AuthMethod::Scram, AuthMethod::Md5, AuthMethod::Cleartext] {
            let planned = planned(method, Some(&secret), TLS);
            assert!(!lets_in(&planned.plan, "x") && !lets_in(&planned.plan, ""));
        }
    }
}

#[test]
fn a_kept_verifier_is_used_and_changes_nothing_that_a_client_sees() {
    let secret = plain();
    let kept = Arc::new(mock().verifier_of_plain("app", "pencil"));
    let claim = Claim { user: "app", secret: Some(&secret), verifier: Some(&kept), channel: Channel::Plain };
    let with = plan(AuthMethod::Scram, claim, &mock()).unwrap().plan;
    let without = planned(AuthMethod::Scram, Some(&secret), Channel::Plain).plan;
    let (Plan::Scram { verifier: with, .. }, Plan::Scram { verifier: without, .. }) = (with, without) else {
        panic!("both ask for SCRAM");
    };
    assert!(Arc::ptr_eq(&with, &kept) && *without == *kept);
}

#[test]
fn certificates_and_trust() {
    let with_name = |common_name| Channel::Tls { binding: None, common_name };
    let cases = [
        (with_name(Some("app")), None),
        (with_name(Some("App")), Some("certificate authentication failed")),
        (with_name(Some("")), Some("certificate authentication failed")),
        (with_name(None), Some("requires a valid client certificate")),
        (Channel::Plain, Some("requires a valid client certificate")),
        (Channel::Unix, Some("requires a valid client certificate")),
    ];
    for (channel, refusal) in cases {
        let claim = Claim { user: "app", secret: None, verifier: None, channel };
        match (plan(AuthMethod::Cert, claim, &mock()), refusal) {
            (Ok(planned), None) => assert_eq!(name(&planned.plan), "cert"),
            (Err(error), Some(words)) => {
                assert!(error.message.contains(words), "{error}");
                assert_eq!(error.sqlstate, "28000");
            }
            (outcome, _) => panic!("{channel:?}: {outcome:?}"),
        }
    }
    assert_eq!(name(&planned(AuthMethod::Trust, None, Channel::Plain).plan), "trust");
}

#[test]
fn a_password_does_not_travel_in_the_open() {
    let secret = plain();
    for secret in [Some(&secret), None] {
        let claim = Claim { user: "app", secret, verifier: None, channel: Channel::Plain };
        let error = plan(AuthMethod::Cleartext, claim, &mock()).unwrap_err();
        assert_eq!(error.sqlstate, "28000");
        assert!(error.hint.unwrap().contains("sslmode=require"));
    }
}

#[test]
fn what_a_server_can_be_answered() {
    let keys = || Learned::Keys(ClientKeys::derive(b"pencil", b"salt", 3));
    let typed = || Learned::Password("pencil".into());
    // Secret, learned; then whether SCRAM, md5 and clear text can be answered.
    let cases = [
        (Some(plain()), Learned::Nothing, [true, true, true]),
        (Some(md5()), Learned::Nothing, [false, true, false]),
        (Some(scram()), Learned::Nothing, [false, false, false]),
        (Some(scram()), keys(), [true, false, false]),
        (Some(md5()), typed(), [true, true, true]),
        (Some(scram()), typed(), [true, true, true]),
        (None, keys(), [true, false, false]),
        (None, Learned::Nothing, [false, false, false]),
    ];
    for (secret, learned, possible) in cases {
        let login = ServerLogin { user: "app".into(), secret, learned };
        let answers = [
            login.scram(None).map(drop),
            login.md5([1, 2, 3, 4]).map(|answer| {
                let right = Md5Secret::derive(b"pencil", "app").response([1, 2, 3, 4]);
                assert_eq!(answer, right, "{login:?}");
            }),
            login.cleartext().map(|answer| assert_eq!(answer, "pencil")),
        ];
        for (answer, possible) in answers.into_iter().zip(possible) {
            assert_eq!(answer.is_ok(), possible, "{login:?}");
            let Err(missing) = answer else { continue };
            let words = missing.to_string();
            assert!(words.contains("\"app\"") && words.contains("give its password in `users`"));
        }
    }
}

#[test]
fn the_message_names_what_is_missing() {
    let login = ServerLogin { user: "app".into(), secret: Some(scram()), learned: Learned::Nothing };
    assert_eq!(
        login.md5([0; 4]).unwrap_err().to_string(),
        "the server asks user \"app\" for md5 but pgweir has only a SCRAM secret: give its password in `users`"
    );
}

#[test]
fn debug_output_hides_secrets() {
    let secret = plain();
    let login = ServerLogin {
        user: "app".into(),
        secret: Some(secret.clone()),
        learned: Learned::Password("pencil".into()),
    };
    let credential = login.scram(None).unwrap();
    let offer = Offer { sha256: true, sha256_plus: false };
    let client = ScramClient::new(credential.clone(), offer, None, [0; 18]).unwrap();
    assert_eq!(client.first().0, Mechanism::Sha256);
    let planned = planned(AuthMethod::Cleartext, Some(&secret), TLS);
    let md5_plan = self::planned(AuthMethod::Md5, Some(&md5()), TLS);
    let shown = format!("{login:?} {credential:?} {client:?} {planned:?} {md5_plan:?} {secret:?}");
    assert!(!shown.contains("pencil") && !shown.contains(&stored_md5()), "{shown}");
}
