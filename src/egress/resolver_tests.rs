//! The cache of names and its bounds, under paused time.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

/// A resolver that counts its questions and answers them with `answer`.
fn counting(
    answer: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
) -> (Resolver, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let resolver = Resolver::asking(Arc::new(move |name| {
        count.fetch_add(1, Ordering::SeqCst);
        let answer = answer(&name);
        async move { answer }.boxed()
    }));
    (resolver, asked)
}

fn one() -> Vec<IpAddr> {
    vec![[192, 0, 2, 1].into()]
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_used_for_half_a_minute() {
    let (resolver, asked) = counting(|_| Ok(one()));
    for (wait, expected) in [(0, 1), (29, 1), (2, 2), (29, 2)] {
        tokio::time::advance(Duration::from_secs(wait)).await;
        assert_eq!(*resolver.addresses("a.test", LIMIT).await.unwrap(), *one());
        assert_eq!(asked.load(Ordering::SeqCst), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_used_for_two_seconds_and_names_the_host() {
    let (resolver, asked) = counting(|_| Err(io::Error::other("no such name")));
    for (wait, expected) in [(0, 1), (1, 1), (2, 2)] {
        tokio::time::advance(Duration::from_secs(wait)).await;
        let error = resolver.addresses("a.test", LIMIT).await.unwrap_err();
        assert_eq!(error.reason, FailureReason::Dns);
        assert_eq!(error.message, "a.test could not be resolved: no such name");
        assert_eq!(asked.load(Ordering::SeqCst), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_without_addresses_is_a_failure() {
    let (resolver, _) = counting(|_| Ok(Vec::new()));
    let error = resolver.addresses("a.test", LIMIT).await.unwrap_err();
    assert_eq!(error.reason, FailureReason::Dns);
}

#[tokio::test(start_paused = true)]
async fn repeated_addresses_are_dropped_and_their_number_is_bounded() {
    let (resolver, _) = counting(|_| Ok((0..100u8).map(|n| [192, 0, 2, n / 2].into()).collect()));
    let found = resolver.addresses("a.test", LIMIT).await.unwrap();
    assert_eq!(found.len(), ADDRESSES);
    assert_eq!(found[1], IpAddr::from([192, 0, 2, 1]));
}

#[tokio::test(start_paused = true)]
async fn callers_of_one_name_share_one_lookup() {
    let (asked, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (count, gate) = (Arc::clone(&asked), Arc::clone(&go));
    let resolver = Arc::new(Resolver::asking(Arc::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            Ok(one())
        }
        .boxed()
    })));
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let resolver = Arc::clone(&resolver);
            tokio::spawn(async move { resolver.addresses("a.test", LIMIT).await })
        })
        .collect();
    go.notify_one();
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_resolver_fails_the_caller_in_time_and_serves_the_next() {
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let resolver = Resolver::asking(Arc::new(move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            Ok(one())
        }
        .boxed()
    }));
    let began = Instant::now();
    let error = resolver.addresses("a.test", LIMIT).await.unwrap_err();
    assert_eq!((error.reason, began.elapsed()), (FailureReason::Dns, LIMIT));
    go.notify_one();
    assert!(resolver.addresses("a.test", LIMIT).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_waited_for_grows_old_too() {
    let (asked, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (count, gate) = (Arc::clone(&asked), Arc::clone(&go));
    let resolver = Resolver::asking(Arc::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            Ok(one())
        }
        .boxed()
    }));
    assert!(resolver.addresses("a.test", LIMIT).await.is_err());
    go.notify_one();
    tokio::task::yield_now().await;
    tokio::time::advance(GOOD_FOR * 2).await;
    go.notify_one();
    assert!(resolver.addresses("a.test", LIMIT).await.is_ok());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn names_and_lookups_at_once_are_bounded() {
    let running = Arc::new(AtomicUsize::new(0));
    let (count, most) = (Arc::clone(&running), Arc::new(AtomicUsize::new(0)));
    let highest = Arc::clone(&most);
    let resolver = Arc::new(Resolver::asking(Arc::new(move |_| {
        let (count, highest) = (Arc::clone(&count), Arc::clone(&highest));
        async move {
            let now = count.fetch_add(1, Ordering::SeqCst) + 1;
            highest.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(1)).await;
            count.fetch_sub(1, Ordering::SeqCst);
            Ok(one())
        }
        .boxed()
    })));
    let calls: Vec<_> = (0..NAMES * 2)
        .map(|n| {
            let resolver = Arc::clone(&resolver);
            tokio::spawn(async move { resolver.addresses(&format!("{n}.test"), LIMIT).await })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!(most.load(Ordering::SeqCst), LOOKUPS);
    assert!(resolver.cache.lock().len() <= NAMES);
}

#[tokio::test(start_paused = true)]
async fn silent_names_delay_no_other() {
    let resolver = Arc::new(Resolver::asking(Arc::new(|name| {
        async move {
            if name.starts_with("silent") {
                tokio::time::sleep(Duration::from_secs(10)).await;
                return Err(io::Error::other("no answer"));
            }
            Ok(one())
        }
        .boxed()
    })));
    let ask = |name: String| {
        let resolver = Arc::clone(&resolver);
        tokio::spawn(async move { resolver.addresses(&name, LIMIT).await })
    };
    // All at once, and for as long as their subscriptions would: again and again.
    for _ in 0..20 {
        let silent: Vec<_> = (0..100).map(|n| ask(format!("silent{n}"))).collect();
        tokio::task::yield_now().await;
        let began = Instant::now();
        assert!(ask(format!("healthy at {began:?}")).await.unwrap().is_ok());
        assert!(began.elapsed() <= PATIENCE * 4, "{:?}", began.elapsed());
        for one in silent {
            assert!(one.await.unwrap().is_err());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_does_not_answer_is_asked_less_and_less_often() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let resolver = Resolver::asking(Arc::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            Err(io::Error::other("no answer"))
        }
        .boxed()
    }));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3600) {
        assert!(resolver.addresses("a.test", LIMIT).await.is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let asked = asked.load(Ordering::SeqCst);
    assert!((20..=40).contains(&asked), "{asked} times in an hour");
}

#[tokio::test(start_paused = true)]
async fn what_was_found_is_used_while_a_new_answer_fails_or_is_awaited() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let resolver = Resolver::asking(Arc::new(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        async move {
            match number {
                0 => Ok(one()),
                1 => Err(io::Error::other("server failure")),
                _ => std::future::pending().await,
            }
        }
        .boxed()
    }));
    let mut used = Duration::ZERO;
    let began = Instant::now();
    while let Ok(found) = resolver.addresses("a.test", LIMIT).await {
        assert_eq!(*found, *one());
        used = began.elapsed();
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!(asked.load(Ordering::SeqCst) >= 3);
    let most = GOOD_FOR + STALE_FOR;
    assert!(
        used > most - Duration::from_secs(3) && used <= most,
        "{used:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lookup_without_descriptors_is_our_lack() {
    let (resolver, _) = counting(|_| Err(rustix::io::Errno::MFILE.into()));
    let error = resolver.addresses("a.test", LIMIT).await.unwrap_err();
    assert!(error.is_own_lack);
}

#[tokio::test]
async fn the_systems_resolver_knows_localhost() {
    let found = Resolver::system()
        .addresses("localhost", LIMIT)
        .await
        .unwrap();
    assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
}

#[tokio::test]
async fn names_below_localhost_are_this_machine_and_nobody_is_asked() {
    let found = Resolver::system().addresses("a.b.localhost", LIMIT).await;
    let expected = [IpAddr::from([127, 0, 0, 1]), "::1".parse().unwrap()];
    assert_eq!(*found.unwrap(), expected);
}
