//! SCRAM by example: published vectors, what PostgreSQL itself stores, and an independent client.
//! Malformed messages are in `scram_malformed_tests`, arbitrary bytes in `scram_properties`.

use std::sync::Arc;

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

use super::mock::MockSecret;
use super::scram::{Mechanism, Offer};
use super::scram_client::{Credential, ScramClient, ScramError};
use super::scram_keys::{ClientKeys, Verifier};
use super::scram_server::{AuthFailure, Outcome, ScramServer};

const HASH: [u8; 32] = [7; 32];
const BOTH: Offer = Offer { sha256: true, sha256_plus: true };

fn pencil() -> Arc<Verifier> {
    Arc::new(Verifier::derive(b"pencil", b"0123456789abcdef", 16))
}

fn password(text: &str) -> Credential {
    Credential::Password { password: text.to_owned(), cached: None }
}

fn server(binding: bool) -> ScramServer {
    ScramServer::new(pencil(), binding.then(|| HASH.to_vec()), [3; 18])
}

/// Runs both of our sides against each other.
fn login(mut server: ScramServer, client: &mut ScramClient) -> Result<Outcome, AuthFailure> {
    let (mechanism, first) = client.first();
    let challenge = server.client_first(mechanism, &first)?;
    let last = client.server_first(&challenge).expect("our own challenge");
    let outcome = server.client_final(&last)?;
    client.server_final(&outcome.server_final).expect("our own signature");
    Ok(outcome)
}

#[test]
fn rfc_7677_exchange() {
    let salt = super::scram::decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let mut server = ScramServer::new(Arc::new(Verifier::derive(b"pencil", &salt, 4096)), None, [0; 18]);
    server.nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".into();
    let mut client = ScramClient::new(password("pencil"), server.offer(), None, [0; 18]).unwrap();
    client.nonce = "rOprNGfwEbeRWgbNEkqO".into();
    client.first_bare = "n=user,r=rOprNGfwEbeRWgbNEkqO".into();

    let (mechanism, first) = client.first();
    assert_eq!(first, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let challenge = server.client_first(mechanism, &first).unwrap();
    assert_eq!(
        String::from_utf8(challenge.clone()).unwrap(),
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let last = client.server_first(&challenge).unwrap();
    assert_eq!(
        String::from_utf8(last.clone()).unwrap(),
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    let outcome = server.client_final(&last).unwrap();
    assert_eq!(outcome.server_final, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    client.server_final(&outcome.server_final).unwrap();
}

/// Each verifier was written by PostgreSQL 15 for that password; together they walk through SASLprep.
#[test]
fn passwords_mean_what_they_mean_to_postgresql() {
    let cases = [
        (
            "pencil",
            "eehzgB078k5iM58GdEXjRA==$gxBmqB1cqo9yRrd5rCz49O9KJt/gPQworCLj5R0Ui2Q=:ocz0m52YR+nWLCvGJP5dR5SIzYLUMBCnwzjBmn80zl8=",
        ),
        // A soft hyphen is dropped.
        (
            "I\u{ad}X",
            "K2o+AgfuI3a1Wn0+VQ/u0Q==$R84l7w+JEzpQIFxVS379CB2sYOlwMMS4q7vkP+culxw=:HwXosH7bWdIgdKLUTSVvWBMOJU/i7uobtDtUv+/3KpY=",
        ),
        // Compatibility forms become plain letters.
        (
            "\u{2168} \u{aa}",
            "yEkEy5ss65UMQigxxg/dJQ==$h0wIRDn8kWYT7D5+aMmgZxrIh+fGt5qPoNG6Cm1kzHs=:aXrdKYXKGp2IEKhiseBtCPqOZ9+I7GntTo/rNsKfZF8=",
        ),
        // Letter and accent join; a no-break space becomes a space.
        (
            "cafe\u{301}\u{a0}pass",
            "D6iyQch+PLu75+ZpgL1rGQ==$TUb/n0JoQV/lk50efene4XSjMIh6x8njloHDb4JlgEE=:phmv+NU+QrxRjD8eP0488OZ5BSEdprkodv8nhUgNXNo=",
        ),
        // Forbidden as a whole, so taken raw: a control character, mixed directions, nothing left, unassigned.
        (
            "a\u{7}b",
            "JvFdFNQIPjCrzhzvtrxzpg==$vpP8RDjdP0zdP32a1ivCxDb9mnizpt2QrNK3ughz3fs=:yYmPlQ3YEEAxNhEW4gxXcsYvTYglN7TBoFsc57qVhBI=",
        ),
        (
            "\u{627}1",
            "WE2uDfNqQDnaIWqNWOiAOw==$cpPpKRxPqjW6ODAKU+40BgopxbWDVyhZk6sct+bZ9YY=:VZ4R28rSOUV3gDEGYAJGWahnRv1JrytOkWxF0xVX4mY=",
        ),
        (
            "\u{ad}",
            "5liidWJDWH/bLw4/0EPqGg==$Dy9RzwjvefOtfaxe51g83QTuSEno76rBUjfV4PUCG6o=:CCr9Ce0PAsFZNk1A9uCwkFltaBgURRNx2oeTXkh7nGw=",
        ),
        (
            "x\u{221}y",
            "o6f9acfLk3eXlI54+osh8w==$2/qLqXmjDE4pH8XnbXOglcJg9Eu7QxAEMiJreZbOAZ0=:aiqyzEj8PSJ2Uvci0yRo9A80gnogxF4b3ibVA6RfH70=",
        ),
    ];
    for (text, tail) in cases {
        let stored = format!("SCRAM-SHA-256$4096:{tail}");
        let verifier = Verifier::parse(&stored).unwrap();
        let ours = Verifier::derive(text.as_bytes(), &verifier.salt, verifier.iterations);
        assert!(ours == verifier, "{text:?}");
        assert_eq!(ours.to_text(), stored);
        assert!(verifier.matches(text.as_bytes()) && !verifier.matches(b"other"));
    }
}

#[test]
fn an_independent_client_is_let_in_and_believes_us() {
    type Binding = fn() -> ChannelBinding;
    let unsupported: Binding = ChannelBinding::unsupported;
    let unrequested: Binding = ChannelBinding::unrequested;
    let endpoint: Binding = || ChannelBinding::tls_server_end_point(HASH.to_vec());
    let cases = [
        (false, Mechanism::Sha256, unsupported),
        (false, Mechanism::Sha256, unrequested),
        (true, Mechanism::Sha256, unsupported),
        (true, Mechanism::Sha256Plus, endpoint),
    ];
    for (tls, mechanism, binding) in cases {
        let mut client = ScramSha256::new(b"pencil", binding());
        let mut ours = server(tls);
        let challenge = ours.client_first(mechanism, client.message()).unwrap();
        client.update(&challenge).unwrap();
        let outcome = ours.client_final(client.message()).unwrap();
        client.finish(&outcome.server_final).unwrap();
        assert!(outcome.keys == ClientKeys::derive(b"pencil", b"0123456789abcdef", 16));

        let mut client = ScramSha256::new(b"Pencil", binding());
        let mut ours = server(tls);
        let challenge = ours.client_first(mechanism, client.message()).unwrap();
        client.update(&challenge).unwrap();
        assert_eq!(ours.client_final(client.message()), Err(AuthFailure::WrongProof));
    }
}

#[test]
fn keys_seen_at_a_login_log_in_again_without_a_password() {
    let mut client = ScramClient::new(password("pencil"), BOTH, Some(HASH.to_vec()), [1; 18]).unwrap();
    assert_eq!(client.first().0, Mechanism::Sha256Plus);
    let outcome = login(server(true), &mut client).unwrap();
    assert!(client.into_keys().as_ref() == Some(&outcome.keys));

    let pass_through = Credential::Keys(outcome.keys.clone());
    let mut client = ScramClient::new(pass_through.clone(), BOTH, None, [2; 18]).unwrap();
    assert!(login(server(false), &mut client).is_ok());

    let elsewhere = Arc::new(Verifier::derive(b"pencil", b"another salt", 16));
    let mut other = ScramServer::new(elsewhere, None, [3; 18]);
    let mut client = ScramClient::new(pass_through, BOTH, None, [2; 18]).unwrap();
    let challenge = other.client_first(Mechanism::Sha256, &client.first().1).unwrap();
    assert_eq!(client.server_first(&challenge), Err(ScramError::DifferentSecret));
}

#[test]
fn cached_keys_are_used_only_where_they_fit() {
    let fitting = ClientKeys::derive(b"pencil", b"0123456789abcdef", 16);
    let stale = ClientKeys::derive(b"pencil", b"0123456789abcdef", 15);
    for (cached, derives) in [(None, true), (Some(stale), true), (Some(fitting), false)] {
        let credential = Credential::Password { password: "pencil".into(), cached };
        let mut client = ScramClient::new(credential, BOTH, None, [1; 18]).unwrap();
        let challenge = server(false).client_first(Mechanism::Sha256, &client.first().1).unwrap();
        assert_eq!(client.will_derive(&challenge), derives);
        assert!(login(server(false), &mut client).is_ok());
    }
}

#[test]
fn our_client_chooses_the_strongest_offer() {
    let only = |sha256, sha256_plus| Offer { sha256, sha256_plus };
    let cases = [
        (BOTH, true, Some("p=tls-server-end-point,,n=,r=")),
        (BOTH, false, Some("n,,n=,r=")),
        (only(true, false), true, Some("y,,n=,r=")),
        (only(true, false), false, Some("n,,n=,r=")),
        (only(false, true), true, Some("p=tls-server-end-point,,n=,r=")),
        (only(false, true), false, None),
        (only(false, false), true, None),
    ];
    for (offer, tls, start) in cases {
        let binding = tls.then(|| HASH.to_vec());
        let first = ScramClient::new(password(""), offer, binding, [0; 18])
            .map(|client| String::from_utf8(client.first().1).unwrap());
        match start {
            Some(start) => assert_eq!(first.unwrap(), format!("{start}{}", "A".repeat(24))),
            None => assert_eq!(first, Err(ScramError::NoMechanism)),
        }
    }
}

#[test]
fn an_unknown_user_sees_what_a_known_one_sees() {
    let mock = MockSecret::new([5; 32]);
    let known = Arc::new(mock.verifier_of_plain("app", "pencil"));
    let unknown = Arc::new(mock.verifier("app"));
    let ask = |verifier: &Arc<Verifier>| {
        let mut ours = ScramServer::new(verifier.clone(), None, [3; 18]);
        let mut client = ScramClient::new(password("wrong"), BOTH, None, [1; 18]).unwrap();
        let challenge = ours.client_first(Mechanism::Sha256, &client.first().1).unwrap();
        let last = client.server_first(&challenge).unwrap();
        (challenge, ours.client_final(&last).unwrap_err().client_error("app"))
    };
    assert_eq!(ask(&known), ask(&unknown));
    assert_ne!(mock.salt("app"), mock.salt("apq"));
    assert_ne!(mock.salt("app"), MockSecret::new([6; 32]).salt("app"));
    let other_count = mock.with_iterations(9);
    assert_eq!(other_count.verifier("app").iterations, 9);
}

#[test]
fn offers_are_read_and_written() {
    for sha256 in [false, true] {
        for sha256_plus in [false, true] {
            let offer = Offer { sha256, sha256_plus };
            assert_eq!(Offer::parse(&offer.to_list()), Some(offer));
        }
    }
    assert_eq!(BOTH.to_list(), b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
    assert_eq!(Offer::parse(b"OAUTHBEARER\0SCRAM-SHA-256\0\0").map(|offer| offer.sha256), Some(true));
    for cut in [&b""[..], b"SCRAM-SHA-256", b"SCRAM-SHA-256\0"] {
        assert_eq!(Offer::parse(cut), None);
    }
}
