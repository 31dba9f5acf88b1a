//! Every malformed SCRAM message in a table, with the answer that each gets.

use std::sync::Arc;

use super::scram::{Mechanism, Offer};
use super::scram_client::{Credential, ScramClient, ScramError};
use super::scram_keys::Verifier;
use super::scram_server::{AuthFailure, ScramServer};

const BOTH: Offer = Offer { sha256: true, sha256_plus: true };

fn pencil() -> Arc<Verifier> {
    Arc::new(Verifier::derive(b"pencil", b"0123456789abcdef", 16))
}

fn server(binding: bool) -> ScramServer {
    ScramServer::new(pencil(), binding.then(|| vec![7; 32]), [3; 18])
}

fn password(text: &str) -> Credential {
    Credential::Password { password: text.to_owned(), cached: None }
}

#[test]
fn malformed_first_messages() {
    let malformed = |text: &str| (Mechanism::Sha256, text.to_owned(), "08P01");
    let mut cases: Vec<_> = [
        "",
        "n",
        "n,",
        "n,,",
        "n,,,",
        "n,,n=",
        "n,,n=,",
        "n,,r=x",
        "n,,n=,r=",
        "n,,n=,r=x,",
        "n,,n=,r=x,y",
        "n,,n=,r=x y",
        "n,,n=,r=\u{e9}",
        "n,,n=\0,r=x",
        "n,a=admin,n=,r=x",
        "n,x,n=,r=x",
        "n,,m=ext,n=,r=x",
        "n,,n=,m=ext,r=x",
        "n,,n=,r=x,m=ext",
        "n,,n=,r=x,1=2",
        "N,,n=,r=x",
        "nn,,n=,r=x",
        ",,n=,r=x",
        "p=tls-unique,,n=,r=x",
        "p=,,n=,r=x",
        "p=tls-server-end-point,,n=,r=x",
        "x,,n=,r=x",
    ]
    .into_iter()
    .map(malformed)
    .collect();
    cases.push(malformed(&format!("n,,n=,r={}", "x".repeat(4096))));
    // Over TLS, PLUS was offered: this client was made to believe otherwise.
    cases.push((Mechanism::Sha256, "y,,n=,r=x".into(), "28000"));
    for text in ["n,,n=,r=x", "y,,n=,r=x", "p=tls-unique,,n=,r=x", "p=tls-server-end-pointx,,n=,r=x"] {
        cases.push((Mechanism::Sha256Plus, text.into(), "08P01"));
    }
    for (mechanism, text, code) in cases {
        let failure = server(true).client_first(mechanism, text.as_bytes()).unwrap_err();
        assert_eq!(failure.client_error("app").sqlstate, code, "{text:?}");
    }
    let mut plain = server(false);
    let unoffered = plain.client_first(Mechanism::Sha256Plus, b"p=tls-server-end-point,,n=,r=x");
    assert!(matches!(unoffered, Err(AuthFailure::Malformed(_))));
    // A failed exchange is over.
    assert!(plain.client_first(Mechanism::Sha256, b"n,,n=,r=x").is_err());
    assert!(server(true).client_first(Mechanism::Sha256, b"n,,n=,r=x,z=1").is_ok());
}

#[test]
fn malformed_final_messages() {
    let nonce = format!("x{}", super::scram::encode(&[3; 18]));
    let proof = super::scram::encode(&[0; 32]);
    let good = format!("c=biws,r={nonce},p={proof}");
    let mutate = |from: &str, to: &str| good.replace(from, to);
    let cases = [
        (good.clone(), "28P01"),
        (mutate("biws", "biws,z=1"), "08P01"),
        (format!("c=biws,r={nonce},z=1,p={proof}"), "28P01"),
        (format!("c=biws,r={nonce},m=1,p={proof}"), "08P01"),
        (mutate("biws", "eSws"), "28000"),
        (mutate("biws", ""), "28000"),
        (mutate("r=x", "r=y"), "08P01"),
        (mutate("c=", "d="), "08P01"),
        (mutate(&nonce, "x"), "08P01"),
        (mutate("p=", "q="), "08P01"),
        (mutate(&proof, "AAAA"), "08P01"),
        (mutate(&proof, ""), "08P01"),
        (mutate("AAA=", "AAB="), "08P01"),
        (format!("{good},"), "08P01"),
        (format!("{good}\0"), "08P01"),
        (format!("{good},p={proof}"), "28P01"),
        (String::new(), "08P01"),
        (",".into(), "08P01"),
        ("x".repeat(5000), "08P01"),
    ];
    for (text, code) in cases {
        let mut ours = server(false);
        ours.client_first(Mechanism::Sha256, b"n,,n=,r=x").unwrap();
        let failure = ours.client_final(text.as_bytes()).unwrap_err();
        assert_eq!(failure.client_error("app").sqlstate, code, "{text:?}");
    }
    assert!(server(false).client_final(good.as_bytes()).is_err(), "out of turn");
}

#[test]
fn malformed_messages_of_a_server() {
    let own = "A".repeat(24);
    let cases = [
        String::new(),
        format!("r={own}x"),
        format!("r={own}x,s=AA=="),
        format!("r={own},s=AA==,i=1"),
        format!("r=x{own},s=AA==,i=1"),
        format!("r={own} ,s=AA==,i=1"),
        format!("r={own}x,s=,i=1"),
        format!("r={own}x,s=AA,i=1"),
        format!("r={own}x,s=AB==,i=1"),
        format!("r={own}x,s=AA==,i="),
        format!("r={own}x,s=AA==,i=0"),
        format!("r={own}x,s=AA==,i=-1"),
        format!("r={own}x,s=AA==,i=+1"),
        format!("r={own}x,s=AA==,i=4294967296"),
        format!("r={own}x,s=AA==,i=99999999999999999999999"),
        format!("r={own}x,s=AA==,i=1 "),
        format!("r={own}x,s=AA==,i=1,"),
        format!("r={own}x,s=AA==,i=1,m=x"),
        format!("m=x,r={own}x,s=AA==,i=1"),
        format!("r={own}x,i=1,s=AA=="),
        format!("r={own}\0x,s=AA==,i=1"),
        format!("r={own}{},s=AA==,i=1", "x".repeat(4096)),
    ];
    let client = || ScramClient::new(password("pencil"), BOTH, None, [0; 18]).unwrap();
    for text in cases {
        let error = client().server_first(text.as_bytes()).unwrap_err();
        assert!(matches!(error, ScramError::Malformed(_)), "{text:?}: {error}");
        assert!(!client().will_derive(text.as_bytes()));
    }
    let too_many = format!("r={own}x,s=AA==,i=10000001");
    assert_eq!(client().server_first(too_many.as_bytes()), Err(ScramError::TooManyIterations(10_000_001)));
    let signature = super::scram::encode(&[0; 32]);
    let cases = [
        (String::new(), "malformed"),
        ("v=".into(), "malformed"),
        ("v=AAAA".into(), "malformed"),
        ("x=1".into(), "malformed"),
        (format!("v={signature},"), "malformed"),
        (format!("v={signature}"), "could not prove"),
        ("e=other-error\n".into(), "refused the login: other-error?"),
    ];
    assert!(client().server_final(format!("v={signature}").as_bytes()).is_err(), "out of turn");
    for (text, words) in cases {
        let mut client = client();
        client.server_first(format!("r={own}x,s=AA==,i=1").as_bytes()).unwrap();
        let error = client.server_final(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(words), "{text:?}: {error}");
        assert!(client.into_keys().is_none());
    }
}

#[test]
fn verifiers_that_are_not() {
    let good = pencil().to_text();
    assert!(Verifier::parse(&good).is_some());
    for bad in [
        "",
        "SCRAM-SHA-256",
        "SCRAM-SHA-256$16:AA==",
        &good[1..],
        &good[..good.len() - 1],
        &good.replace("$16:", "$0:"),
        &good.replace("$16:", "$-16:"),
        &good.replace("$16:", "$10000001:"),
        &good.replace("$16:", "$:"),
        &good.replace("$16:", "$99999999999:"),
        &good.replace("MDEyMzQ1Njc4OWFiY2RlZg==", ""),
        &good.replace("==", "="),
        &format!("{good} "),
        &format!("{good}:"),
    ] {
        assert!(Verifier::parse(bad).is_none(), "{bad}");
    }
}
