//! Events that a platform will never take, among those that it takes.

use tokio::time::sleep;

use super::simulation::{id, with_pages};
use super::*;
use crate::conversions::Conversion;

/// Refuses a request in which one of these is, as Meta does.
fn refuses(poison: &'static [usize]) -> impl FnMut(&Told) -> Reply + Send {
    let poison: Vec<String> = poison.iter().copied().map(id).collect();
    move |told| {
        if told.ids.iter().any(|id| poison.contains(id)) {
            return Reply::Answer(400, r#"{"error":{"code":100,"message":"Invalid parameter"}}"#.to_owned());
        }
        taken(told)
    }
}

#[test]
fn one_that_is_refused_is_found_by_halving_and_all_others_are_sent() {
    for poison in [0, 500, 999] {
        let integration = platform("meta");
        let poisonous: &'static [usize] = Vec::leak(vec![poison]);
        simulate(from_ref(&integration), refuses(poisonous), async |world| {
            world.queue(&integration, 0..1_000).await;
            sleep(seconds(10)).await;
            assert_eq!(world.left().await, (0, 1));
            let dead = world.forwarder.queue().dead(&integration.name, 10).await.unwrap();
            assert_eq!(dead[0].id, id(poison));
            // The one, and two for each of the ten times that a thousand can be halved.
            assert!(world.told().len() <= 21, "{} requests", world.told().len());
            let counts = world.counts();
            let most =
                counts.iter().filter(|(other, _)| **other != id(poison)).map(|(_, times)| *times).max();
            assert!(counts.len() == 1_000 && most <= Some(11), "told {most:?} times");
        });
    }
}

#[test]
fn a_few_that_are_refused_cost_as_much_each() {
    let integration = platform("meta");
    simulate(from_ref(&integration), refuses(&[3, 400, 401, 777]), async |world| {
        world.queue(&integration, 0..1_000).await;
        sleep(seconds(20)).await;
        assert_eq!(world.left().await, (0, 4));
        assert!(world.told().len() <= 4 * 20 + 1, "{} requests", world.told().len());
        // Nothing goes faster for it.
        for one in world.told() {
            let second = one.at..one.at + seconds(1);
            let requests = world.told().into_iter().filter(|told| second.contains(&told.at));
            let events: usize = requests.map(|told| told.ids.len()).sum();
            assert!(events <= 1_999, "{events} in a second");
        }
    });
}

#[test]
fn the_search_goes_on_where_it_was_when_other_failures_come_between() {
    let integration = platform("meta");
    let (mut refuses, mut requests) = (refuses(&[3, 100, 101, 250, 499]), 0);
    // About every third request fails, whatever is in it.
    let script = move |told: &Told| {
        requests += 1;
        if requests * 7 % 10 < 3 { Reply::Answer(503, String::new()) } else { refuses(told) }
    };
    simulate(from_ref(&integration), script, async |world| {
        world.queue(&integration, 0..500).await;
        world.pass(Duration::from_mins(30)).await;
        assert_eq!(world.left().await, (0, 5));
        assert!(world.told().len() <= 400, "{} requests", world.told().len());
    });
}

#[test]
fn nothing_waits_for_a_page_that_it_does_not_need() {
    let integration = with_pages("meta");
    simulate(from_ref(&integration), taken, async |world| {
        world.queue(&integration, 0..100).await;
        let worth = |conversion: &mut Conversion| {
            conversion.custom.value = Some(5.into());
            conversion.custom.currency = Some("EUR".to_owned());
        };
        world.queue_with(&integration, 100..101, worth).await;
        sleep(seconds(5)).await;
        let told = world.told();
        assert_eq!(told.iter().find(|told| told.ids.contains(&id(100))).unwrap().ids.len(), 1);
        assert_eq!(told.len(), 2);
    });
}

#[test]
fn what_stops_a_halving_stops_all_of_it_and_loses_nothing() {
    let stops = [Reply::Answer(401, String::new()), Reply::Later(429, "600".to_owned())];
    for stop in stops {
        let integration = platform("meta");
        let (mut refuses, mut requests) = (refuses(&[3]), 0);
        let script = move |told: &Told| {
            requests += 1;
            if requests == 3 { stop.clone() } else { refuses(told) }
        };
        simulate(from_ref(&integration), script, async |world| {
            world.queue(&integration, 0..100).await;
            world.pass(seconds(500)).await;
            assert_eq!(world.told().len(), 3);
            assert_eq!(world.left().await, (100, 0));
            world.forwarder.resume(None);
            sleep(seconds(110)).await;
            assert_eq!(world.left().await, (0, 1));
            assert_eq!(world.counts().len(), 100);
        });
    }
}

#[test]
fn where_all_are_refused_all_are_dead_letters_and_the_rest_of_the_queue_goes_on() {
    let integration = platform("tiktok");
    let script = |told: &Told| {
        let bad = told.ids.iter().any(|told| *told < id(20));
        if bad { Reply::Answer(200, r#"{"code":40002,"message":"bad"}"#.to_owned()) } else { taken(told) }
    };
    simulate(from_ref(&integration), script, async |world| {
        world.queue(&integration, 0..500).await;
        sleep(seconds(40)).await;
        assert_eq!(world.left().await, (0, 20));
        assert_eq!(world.counts().len(), 500);
    });
}

#[test]
fn one_that_spoils_every_request_with_a_promise_does_not_hold_up_the_others() {
    let integration = platform("meta");
    let script = |told: &Told| {
        if told.ids.contains(&id(17)) { Reply::Answer(500, String::new()) } else { taken(told) }
    };
    simulate(from_ref(&integration), script, async |world| {
        world.queue(&integration, 0..100).await;
        world.pass(Duration::from_mins(30)).await;
        assert_eq!(world.left().await, (1, 0));
        assert_eq!(world.counts().len(), 100);
    });
}

#[test]
fn an_answer_to_each_event_is_believed_of_each() {
    let integration = platform("pinterest");
    let script = |told: &Told| {
        let each = |told: &String| {
            if *told == id(2) {
                r#"{"status":"failed","error_message":"no such thing"}"#
            } else {
                r#"{"status":"processed"}"#
            }
        };
        let each: Vec<&str> = told.ids.iter().map(each).collect();
        Reply::Answer(200, format!(r#"{{"events":[{}]}}"#, each.join(",")))
    };
    simulate(from_ref(&integration), script, async |world| {
        world.queue(&integration, 0..5).await;
        sleep(seconds(1)).await;
        assert_eq!(world.left().await, (0, 1));
        assert_eq!(world.told().len(), 1);
        let dead = world.forwarder.queue().dead(&integration.name, 10).await.unwrap();
        assert_eq!(dead[0].id, id(2));
    });
}
