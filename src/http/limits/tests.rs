use super::*;
use crate::event::Timestamp;

/// A clock for limits, and the means to turn it.
struct Time(Clock);

impl Time {
    fn new() -> Self {
        // Some day, as the machine's clock would have it.
        Self(Clock::manual(Timestamp::from_millis(1_750_000_000_000)))
    }

    fn pass(&self, millis: i64) {
        self.0.set(Timestamp::from_millis(self.0.now().as_millis() + millis));
    }
}

fn per_minute(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

fn limits(time: &Time, project: Option<u32>, address: Option<u32>) -> RateLimits {
    let settings = RateLimitSettings {
        project: project.map(per_minute),
        address: address.map(per_minute),
        ..RateLimitSettings::default()
    };
    RateLimits::new(&settings, &time.0)
}

/// How many requests are taken until one is refused, of at most 100,000; and that refusal.
fn taken<T>(request: impl Fn() -> Result<T, Limited>) -> (usize, Option<Limited>) {
    let mut taken = 0;
    while taken < 100_000 {
        if let Err(limited) = request() {
            return (taken, Some(limited));
        }
        taken += 1;
    }
    (taken, None)
}

fn address(text: &str) -> impl FnOnce() -> IpAddr {
    let address = text.parse().unwrap();
    move || address
}

fn written(write: impl FnOnce(&mut HeaderMap)) -> Vec<String> {
    let mut headers = HeaderMap::new();
    write(&mut headers);
    let mut lines: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

#[test]
fn a_bucket_of_1000_is_refilled_in_a_minute() {
    let time = Time::new();
    let limits = limits(&time, None, None);
    let request = || limits.api_key(Uuid::from_u128(1), None);
    assert_eq!(taken(request).0, 1_000);
    // After so many milliseconds, so many more: one each 60 ms, and never more than a bucket.
    for (millis, expected) in [
        (59, 0),
        (1, 1),
        (60, 1),
        (119, 1),
        (1, 1),
        (1_000, 16),
        (10_000, 167),
        (60_000, 1_000),
        (600_000, 1_000),
    ] {
        time.pass(millis);
        assert_eq!(taken(request).0, expected, "after {millis} ms more");
    }
}

#[test]
fn a_limit_holds_at_every_number() {
    for limit in [1, 2, 3, 7, 59, 60, 61, 999, 1_000, 6_000, 54_321] {
        let time = Time::new();
        let limits = limits(&time, None, None);
        let request = || limits.api_key(Uuid::from_u128(1), Some(per_minute(limit)));
        assert_eq!(taken(request).0, limit as usize, "at once, of {limit} a minute");
        time.pass(60_000);
        assert_eq!(taken(request).0, limit as usize, "a minute later, of {limit} a minute");
        // As they come, a hundred each second of ten minutes.
        let steady = (0..600)
            .map(|_| {
                time.pass(1_000);
                (0..100).filter(|_| request().is_ok()).count()
            })
            .sum::<usize>();
        assert_eq!(steady, (limit as usize * 10).min(60_000), "in ten minutes, of {limit} a minute");
    }
}

#[test]
fn what_is_over_the_highest_limit_is_taken_for_it() {
    let limits = limits(&Time::new(), None, None);
    let standing = limits.api_key(Uuid::from_u128(1), Some(NonZeroU32::MAX)).unwrap();
    let policy = r#"ratelimit-policy: "api-key";q=100000000;w=60"#;
    assert_eq!(written(|headers| standing.write(headers))[0], policy);
}

#[test]
fn headers_and_message_say_how_one_stands() {
    let time = Time::new();
    let limits = limits(&time, Some(60), Some(1));
    let key = || limits.api_key(Uuid::from_u128(1), Some(per_minute(4)));
    let policy = r#"ratelimit-policy: "api-key";q=4;w=60"#;
    // What is left, and when the bucket is full again; at nothing, when there will be something.
    for state in
        [r#""api-key";r=3;t=15"#, r#""api-key";r=2;t=30"#, r#""api-key";r=1;t=45"#, r#""api-key";r=0;t=15"#]
    {
        let standing = key().unwrap();
        assert_eq!(
            written(|headers| standing.write(headers)),
            [policy.to_owned(), format!("ratelimit: {state}")]
        );
    }
    for (passed, wait) in [(0, 15), (1, 15), (999, 14), (1, 14), (13_000, 1), (998, 1)] {
        time.pass(passed);
        let limited = key().unwrap_err();
        let expected =
            [policy.into(), format!(r#"ratelimit: "api-key";r=0;t={wait}"#), format!("retry-after: {wait}")];
        assert_eq!(written(|headers| limited.write(headers)), expected);
        assert_eq!(limited.retry(), Retry::After(Duration::from_secs(wait)));
    }
    time.pass(1);
    key().unwrap();
    let (count, limited) = taken(|| limits.project(Uuid::from_u128(1)));
    let message = "over the limit of 60 requests a minute for one project; come again in 1 s";
    assert_eq!((count, limited.unwrap().to_string().as_str()), (60, message));
    let (count, limited) = taken(|| limits.address(address("192.0.2.1")));
    let message = "over the limit of 1 requests a minute for one client address; come again in 60 s";
    assert_eq!((count, limited.unwrap().to_string().as_str()), (1, message));
}

#[test]
fn a_client_that_comes_again_when_it_is_told_is_taken() {
    let time = Time::new();
    let limits = limits(&time, None, None);
    for limit in [1, 3, 7, 1_000, 70_000] {
        let key = Uuid::from_u128(u128::from(limit));
        for round in 0..5 {
            let (_, limited) = taken(|| limits.api_key(key, Some(per_minute(limit))));
            let Retry::After(wait) = limited.unwrap().retry() else { panic!("no time is told") };
            time.pass(i64::try_from(wait.as_millis()).unwrap());
            assert!(limits.api_key(key, Some(per_minute(limit))).is_ok(), "{limit} a minute, round {round}");
        }
    }
}

#[test]
fn refused_requests_take_nothing() {
    let time = Time::new();
    let limits = limits(&time, None, None);
    let request = || limits.api_key(Uuid::from_u128(1), Some(per_minute(60)));
    assert_eq!(taken(request).0, 60);
    for _ in 0..10_000 {
        assert!(request().is_err());
    }
    time.pass(1_000);
    assert_eq!(taken(request).0, 1);
}

#[test]
fn keys_projects_and_addresses_do_not_count_against_each_other() {
    let limits = limits(&Time::new(), Some(5), Some(7));
    let [one, two] = [1, 2].map(Uuid::from_u128);
    assert_eq!(taken(|| limits.api_key(one, None)).0, 1_000);
    assert_eq!(taken(|| limits.api_key(two, Some(per_minute(20)))).0, 20);
    assert_eq!(taken(|| limits.project(one)).0, 5);
    assert_eq!(taken(|| limits.project(two)).0, 5);
    assert_eq!(taken(|| limits.address(address("192.0.2.1"))).0, 7);
    // Each is refused, and each new one has a bucket of its own.
    for (text, expected) in [
        ("192.0.2.1", 0),
        ("::ffff:192.0.2.1", 0),
        ("192.0.2.2", 7),
        ("2001:db8::1", 7),
        ("2001:db8::2", 0),
        ("2001:db8:0:0:ffff:ffff:ffff:ffff", 0),
        ("2001:db8:0:1::1", 7),
        ("::1", 7),
    ] {
        assert_eq!(taken(|| limits.address(address(text))).0, expected, "{text}");
    }
}

#[test]
fn a_limit_that_is_changed_finds_its_bucket_as_full_as_before() {
    let limits = limits(&Time::new(), None, None);
    let key = Uuid::from_u128(1);
    for _ in 0..500 {
        limits.api_key(key, None).unwrap();
    }
    assert_eq!(taken(|| limits.api_key(key, Some(per_minute(10)))).0, 5);
    assert_eq!(taken(|| limits.api_key(key, Some(per_minute(MAX_PER_MINUTE)))).0, 0);
}

#[test]
fn nothing_is_limited_unless_it_is_set() {
    let limits = limits(&Time::new(), None, None);
    assert_eq!(taken(|| limits.project(Uuid::nil())).1, None);
    assert_eq!(taken(|| limits.address(|| panic!("nobody asks for it"))).1, None);
}

#[test]
fn a_million_addresses_take_no_more_memory_and_lock_nobody_out() {
    let time = Time::new();
    let limits = limits(&time, None, Some(10));
    let visitor = |number: u32| limits.address(|| IpAddr::from((0x0a00_0000 + number).to_be_bytes()));
    assert_eq!(taken(|| limits.address(address("192.0.2.1"))).0, 10);
    assert_eq!(taken(|| limits.address(address("192.0.2.2"))).0, 10);
    for number in 0..1_000_000 {
        assert!(visitor(number).is_ok(), "address {number} has not sent before");
        if number % 1_000 == 0 {
            time.pass(1);
            // Who has used most is not forgotten, however many come; and goes on as its own limit says.
            assert!(limits.address(address("192.0.2.1")).is_err(), "after {number} addresses");
        }
    }
    // The last one is remembered. The first one has been forgotten, so its bucket is full again.
    assert_eq!(taken(|| visitor(999_999)).0, 9);
    assert_eq!(taken(|| visitor(0)).0, 10);
    let buckets = limits.addresses.unwrap().buckets.into_state_store();
    assert_eq!((buckets.places(), buckets.held()), (ADDRESSES, ADDRESSES));
    assert!(buckets.bytes() < 4 * 1024 * 1024, "{} bytes", buckets.bytes());
}

#[test]
fn rejected_events_are_kept_up_to_a_limit_for_each_project() {
    let time = Time::new();
    let cap = RejectedCap::per_minute(per_minute(60), &time.0);
    let kept =
        |project: u128, tried: usize| (0..tried).filter(|_| cap.admits(Uuid::from_u128(project))).count();
    assert_eq!((kept(1, 100), kept(2, 10)), (60, 10));
    time.pass(999);
    assert_eq!(kept(1, 100), 0);
    time.pass(2_001);
    assert_eq!((kept(1, 100), kept(2, 100)), (3, 53));
    // However many projects there are, it takes no more memory, and who floods is not forgotten.
    for project in 1_000..100_000 {
        assert_eq!(kept(project, 1), 1);
        assert_eq!(kept(1, 1), 0);
    }
    let buckets = cap.0.into_state_store();
    assert_eq!((buckets.places(), buckets.held()), (REJECTING_PROJECTS, REJECTING_PROJECTS));
    assert!(buckets.bytes() < 128 * 1024, "{} bytes", buckets.bytes());
}
