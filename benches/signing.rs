//! What signing an event of 1 KiB costs, per scheme; the keys are prepared once, as in the relay.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot begin fails")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use http::HeaderMap;
use sidehook::domain::{DeliveryId, EventId, Secret, Timestamp};
use sidehook::signing::{Scheme, SignInput, Signer};

const SECRET: &[u8] = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn signing(criterion: &mut Criterion) {
    let at = Timestamp::from_millis(1_614_265_330_000);
    let delivery_id = DeliveryId {
        event: EventId::new(at, [7; 10]),
        subscription: "bench".parse().unwrap(),
    };
    let body = [b'x'; 1024];
    for name in ["standard", "github", "stripe", "slack", "shopify"] {
        let scheme = Scheme::by_name(name).unwrap();
        let secret = Secret::new(SECRET.to_vec());
        let signer = Signer::new(&[scheme], Some(&secret), &[]).unwrap();
        criterion.bench_function(&format!("signing/{name}"), |bencher| {
            bencher.iter(|| {
                let mut headers = HeaderMap::new();
                let input = SignInput {
                    id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
                    delivery_id: &delivery_id,
                    event_type: "bench.event",
                    url: "https://receiver.example.com/hooks",
                    body: black_box(&body),
                    at,
                };
                signer.sign(&input, &mut headers);
                headers
            });
        });
    }
}

criterion_group!(benches, signing);
criterion_main!(benches);
