//! What operators do: they give better credentials, change a block, take it away, stop the collector.

use tokio::time::sleep;

use super::simulation::{id, with_pages};
use super::*;
use crate::conversions::platform::Rate;
use crate::conversions::{Integration, Secret};

fn unauthorized(_: &Told) -> Reply {
    Reply::Answer(401, String::new())
}

#[test]
fn bad_credentials_pause_and_keep_everything_until_somebody_resumes() {
    for name in ["meta", "tiktok", "google_ads", "snapchat", "pinterest", "twitter", "webhook"] {
        let integration = platform(name);
        simulate(from_ref(&integration), unauthorized, async |world| {
            world.queue(&integration, 0..300).await;
            sleep(seconds(1)).await;
            assert!(world.paused().await.is_some(), "{name}");
            let before = world.told().len();
            assert!(before <= super::super::REQUESTS, "{name}: {before} requests");
            world.queue(&integration, 300..310).await;
            world.pass(Duration::from_mins(10)).await;
            assert_eq!(world.told().len(), before, "{name}: something was sent in the pause");
            assert_eq!(world.left().await, (310, 0), "{name}");
            world.answer(taken);
            let resumed = world.now();
            assert_eq!(world.forwarder.resume(Some(&integration.name)), 1, "{name}");
            sleep(seconds(10)).await;
            assert_eq!(world.left().await, (0, 0), "{name}");
            assert_eq!(world.counts().len(), 310, "{name}");
            let first = between(resumed, world.told()[before].at);
            assert!(first <= millis(100), "{name}: {first:?} after it was resumed");
        });
    }
}

#[test]
fn one_that_wants_no_more_is_paused_and_others_are_not() {
    let integrations = [platform("webhook"), platform("meta")];
    let script = |told: &Told| {
        if told.url.contains("crm") { Reply::Answer(410, String::new()) } else { taken(told) }
    };
    simulate(&integrations, script, async |world| {
        for integration in &integrations {
            world.queue(integration, 0..10).await;
        }
        world.pass(Duration::from_mins(10)).await;
        assert_eq!(world.left().await, (10, 0));
        assert_eq!(world.paused().await.as_deref(), Some("answered 410"));
        // Nothing can be resumed that is not paused, nor twice.
        assert_eq!(world.forwarder.resume(Some("shop/meta")), 0);
        assert_eq!((world.forwarder.resume(None), world.forwarder.resume(None)), (1, 0));
    });
}

/// The same with another token.
fn better(integration: &Integration) -> Integration {
    let mut better = integration.clone();
    better.settings.insert("access_token", Secret::new("better"));
    better
}

#[test]
fn a_better_token_ends_a_pause_at_once() {
    let integration = platform("meta");
    let script = |told: &Told| if told.url.contains("better") { taken(told) } else { unauthorized(told) };
    simulate(from_ref(&integration), script, async |world| {
        world.queue(&integration, 0..10).await;
        sleep(seconds(7)).await;
        assert!(world.paused().await.is_some());
        world.forwarder.configure(vec![better(&integration)]);
        sleep(millis(200)).await;
        assert_eq!(world.left().await, (0, 0));
        assert_eq!(world.paused().await, None);
    });
}

#[test]
fn an_answer_to_what_was_sent_before_does_not_pause_a_better_block() {
    let integration = platform("meta");
    let script = |told: &Told| {
        if told.url.contains("better") {
            return taken(told);
        }
        Reply::Late(seconds(5), Box::new(unauthorized(told)))
    };
    simulate(from_ref(&integration), script, async |world| {
        world.queue(&integration, [0]).await;
        sleep(seconds(1)).await;
        world.forwarder.configure(vec![better(&integration)]);
        world.queue(&integration, [1]).await;
        sleep(seconds(10)).await;
        assert_eq!(world.paused().await, None);
        assert_eq!(world.left().await, (0, 0));
    });
}

#[test]
fn another_address_is_where_the_next_attempt_goes() {
    let integration = platform("meta");
    let script = |told: &Told| if told.url.contains("graph.facebook.com") { taken(told) } else { Reply::Cut };
    let mut wrong = integration.clone();
    wrong.base_url = "https://graph.example".to_owned();
    simulate(&[wrong], script, async |world| {
        world.queue(&integration, 0..10).await;
        world.pass(Duration::from_hours(1)).await;
        let before = world.told().len();
        assert_eq!(world.left().await, (10, 0));
        world.forwarder.configure(vec![integration.clone()]);
        sleep(seconds(301)).await;
        assert_eq!(world.left().await, (0, 0));
        assert!(
            world.told()[before..].iter().all(|told| told.url.starts_with("https://graph.facebook.com/"))
        );
    });
}

#[test]
fn another_rate_is_kept_to_from_then_on() {
    let integration = platform("tiktok");
    simulate(from_ref(&integration), taken, async |world| {
        world.queue(&integration, 0..1_000).await;
        sleep(millis(5_200)).await;
        let mut slower = integration.clone();
        slower.rate = Some(Rate { per_second: 5, batch: 5 });
        world.forwarder.configure(vec![slower]);
        let before: usize = world.told().iter().map(|told| told.ids.len()).sum();
        sleep(seconds(10)).await;
        let after = world.told().iter().map(|told| told.ids.len()).sum::<usize>() - before;
        assert!((45..=50).contains(&after), "{after} in 10 s");
        world.forwarder.configure(vec![integration.clone()]);
        sleep(seconds(16)).await;
        assert_eq!(world.left().await, (0, 0));
        assert!(world.counts().values().all(|times| *times == 1));
    });
}

#[test]
fn another_rate_does_not_make_forget_what_the_platform_asked_for() {
    let integration = platform("tiktok");
    let script =
        |told: &Told| if told.at < seconds(1) { Reply::Later(429, "3600".to_owned()) } else { taken(told) };
    simulate(from_ref(&integration), script, async |world| {
        world.queue(&integration, [0]).await;
        sleep(seconds(10)).await;
        let mut slower = integration.clone();
        slower.rate = Some(Rate { per_second: 5, batch: 5 });
        world.forwarder.configure(vec![slower]);
        world.queue(&integration, [1]).await;
        world.pass(seconds(3_580)).await;
        assert_eq!(world.told().len(), 1, "it was asked before");
        sleep(seconds(20)).await;
        assert_eq!(world.left().await, (0, 0));
    });
}

#[test]
fn without_its_block_an_integration_waits_and_goes_on_with_it() {
    let integration = platform("tiktok");
    simulate(from_ref(&integration), taken, async |world| {
        world.queue(&integration, 0..500).await;
        sleep(millis(2_500)).await;
        world.forwarder.configure(Vec::new());
        let before = world.told().len();
        world.pass(Duration::from_hours(1)).await;
        assert_eq!(world.told().len(), before);
        world.forwarder.configure(vec![integration.clone()]);
        sleep(seconds(11)).await;
        assert_eq!(world.left().await, (0, 0));
        let counts = world.counts();
        assert!(counts.len() == 500 && counts.values().all(|times| *times == 1));
    });
}

/// Stops and says how long that took.
async fn stop(world: &World) -> Duration {
    let begun = world.now();
    world.forwarder.stop().await;
    between(begun, world.now())
}

#[test]
fn a_stop_waits_for_nothing_but_answers() {
    let integration = platform("webhook");
    // Idle; gathering; paused; after failures; as long as a platform asks for.
    let scripts: [fn(&Told) -> Reply; 4] =
        [taken, unauthorized, |_| Reply::Cut, |_| Reply::Later(429, "80000".to_owned())];
    for script in scripts {
        for wait in [millis(0), millis(50), millis(200), Duration::from_hours(1)] {
            simulate(from_ref(&integration), script, async |world| {
                sleep(seconds(40)).await;
                world.queue(&integration, 0..3).await;
                world.pass(wait).await;
                assert_eq!(stop(world).await, Duration::ZERO, "after {wait:?}");
                let (waiting, dead) = world.left().await;
                let told = world.counts().len() as u64;
                assert!(dead == 0 && waiting <= 3 && waiting + told >= 3, "{waiting} wait, {told} told");
            });
        }
    }
}

#[test]
fn a_stop_in_full_flight_loses_nothing_and_the_next_start_sends_the_rest() {
    for latency in [0, 1, 3_000] {
        let integration = platform("tiktok");
        let script = move |told: &Told| Reply::Late(millis(latency), Box::new(taken(told)));
        simulate(from_ref(&integration), script, async |world| {
            world.queue(&integration, 0..1_000).await;
            sleep(millis(5_432)).await;
            let took = stop(world).await;
            assert!(took <= millis(latency), "{took:?}");
            let told = world.counts().len() as u64;
            assert_eq!(world.left().await, (1_000 - told, 0));
            sleep(seconds(60)).await;
            assert_eq!(world.counts().len() as u64, told, "something was sent after the end");
            let next = world.begin(from_ref(&integration));
            sleep(seconds(25)).await;
            assert_eq!(world.left().await, (0, 0));
            let counts = world.counts();
            assert!(counts.len() == 1_000 && counts.values().all(|times| *times == 1));
            next.stop().await;
        });
    }
}

#[test]
fn a_stop_does_not_wait_for_the_turn_of_requests_that_are_still_to_be_sent() {
    let integration = with_pages("tiktok");
    simulate(from_ref(&integration), taken, async |world| {
        world.queue(&integration, 0..1_000).await;
        sleep(millis(5_500)).await;
        let took = stop(world).await;
        assert!(took <= seconds(1), "{took:?}");
        let told = world.counts().len() as u64;
        assert_eq!(world.left().await, (1_000 - told, 0));
    });
}

#[test]
fn a_stop_waits_for_an_answer_that_does_not_come_no_longer_than_anybody() {
    let integration = platform("meta");
    simulate(
        from_ref(&integration),
        |_| Reply::Never,
        async |world| {
            world.queue(&integration, 0..10).await;
            sleep(seconds(2)).await;
            let took = stop(world).await;
            assert!(took <= seconds(15), "{took:?}");
            assert_eq!(world.left().await, (10, 0));
        },
    );
}

/// Has an operator discard conversions, and says how many there were.
async fn discard(world: &World, numbers: impl IntoIterator<Item = usize>) -> usize {
    let mut discarded = 0;
    for number in numbers {
        let counts = world.forwarder.queue().discard(None, &id(number)).await.unwrap();
        discarded += counts.values().sum::<usize>();
    }
    discarded
}

#[test]
fn what_was_discarded_while_it_was_gathered_is_not_sent() {
    let integration = platform("meta");
    simulate(from_ref(&integration), taken, async |world| {
        world.queue(&integration, 0..10).await;
        sleep(millis(50)).await;
        assert_eq!(discard(world, [3, 9]).await, 2);
        sleep(seconds(1)).await;
        let told = world.told();
        let others: Vec<String> = (0..9).filter(|number| *number != 3).map(id).collect();
        assert_eq!(told.iter().map(|told| &told.ids).collect::<Vec<_>>(), [&others]);
        // Nor is an empty request.
        world.queue(&integration, [10]).await;
        sleep(millis(50)).await;
        assert_eq!(discard(world, [10]).await, 1);
        sleep(seconds(1)).await;
        assert_eq!(world.told().len(), 1);
        assert_eq!(world.left().await, (0, 0));
    });
}

#[test]
fn what_was_discarded_while_it_waited_for_its_turn_is_not_sent() {
    for integration in [platform("tiktok"), with_pages("tiktok")] {
        simulate(from_ref(&integration), taken, async |world| {
            world.queue(&integration, 0..200).await;
            sleep(millis(500)).await;
            assert_eq!(world.counts().len(), 50);
            assert_eq!(discard(world, [60, 120, 199]).await, 3);
            sleep(seconds(10)).await;
            let counts = world.counts();
            assert!(counts.len() == 197 && counts.values().all(|times| *times == 1), "{counts:?}");
            assert!([60, 120, 199].into_iter().all(|number| !counts.contains_key(&id(number))));
            assert_eq!(world.left().await, (0, 0));
        });
    }
}

#[test]
fn what_was_discarded_while_its_request_was_refused_is_not_in_the_halves() {
    let integration = platform("meta");
    let script = |told: &Told| {
        let reply = if told.ids.contains(&id(3)) {
            Reply::Answer(400, r#"{"error":{"code":100,"message":"Invalid parameter"}}"#.to_owned())
        } else {
            taken(told)
        };
        Reply::Late(millis(300), Box::new(reply))
    };
    simulate(from_ref(&integration), script, async |world| {
        world.queue(&integration, 0..1_000).await;
        sleep(millis(200)).await;
        // It is under way.
        assert_eq!(world.counts().len(), 1_000);
        assert_eq!(discard(world, [0]).await, 1);
        sleep(millis(300)).await;
        // Its request is refused, and the halves wait for their turn.
        assert_eq!(discard(world, [999]).await, 1);
        sleep(seconds(20)).await;
        let counts = world.counts();
        assert_eq!((counts[&id(0)], counts[&id(999)]), (1, 1));
        assert!(counts[&id(1)] > 1 && counts[&id(998)] > 1);
        assert_eq!(world.left().await, (0, 1));
    });
}
