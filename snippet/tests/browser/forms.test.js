// Forms: each submission counts once, the page's own handling stays as it is, and no value is ever seen.

import assert from 'node:assert/strict';

import { gate } from './harness/eventually.js';
import { scenes } from './harness/scene.js';

const test = scenes();

/** Nothing but forms. */
const FORMS = { pageviews: 'false', clicks: 'false' };

/** @typedef {import('./harness/scene.js').Scene} Scene */

/**
 * The one form that is a row.
 * @param {Scene} scene
 */
async function form(scene) {
  const [row] = await scene.rows(1, { type: 'form_submit' });
  assert.ok(row);
  return row;
}

test('a native form is one form_submit, and its fields go where they should', async (scene) => {
  const thanks = scene.site.put('/thanks', {});
  const tab = await scene.open('/contact', {
    options: FORMS,
    body: `<form id="contact" name="contact-form" method="post" action="/thanks">
      <input name="email" value="jane@mail.test"><input name="city" value="Lund"><button name="send" value="1">Send</button>
    </form>`,
  });
  await tab.click('button');
  await tab.waitForURL(thanks);
  const { url, data } = await form(scene);
  assert.equal(url, scene.site.url('/contact'));
  assert.equal(data.elementId, 'contact');
  assert.equal(data.name, 'contact-form');
  assert.equal(data.method, 'post');
  assert.ok(String(data.action).endsWith('/thanks'));
  const [visit] = scene.site.visited(thanks);
  assert.equal(visit?.method, 'POST');
  assert.equal(visit?.body, 'email=jane%40mail.test&city=Lund&send=1');
});

test('a form with data-track is one event of that name, whatever is clicked in it', async (scene) => {
  const tab = await scene.open('/signup', {
    options: { pageviews: 'false' },
    body: `<form data-track="signup" data-track-plan="pro"><input name="email"><button>Go</button></form>
      <script>document.forms[0].addEventListener('submit', (event) => event.preventDefault())</script>`,
  });
  await tab.click('input');
  await tab.click('button');
  const rows = await scene.rows(2);
  assert.deepEqual(rows.map(({ type }) => type).sort(), ['click', 'signup']);
  assert.equal(rows.find(({ type }) => type === 'signup')?.data.plan, 'pro');
});

test('a form in a slot is one form_submit', async (scene) => {
  const tab = await scene.open('/', {
    options: FORMS,
    body: `<div id="host"><form id="slotted"><input><button>Go</button></form></div><script>
      document.getElementById('host').attachShadow({ mode: 'open' }).innerHTML = '<slot></slot>';
      document.forms[0].addEventListener('submit', (event) => event.preventDefault());
    </script>`,
  });
  await tab.click('#slotted input');
  await tab.click('#slotted button');
  const { data } = await form(scene);
  assert.equal(data.elementId, 'slotted');
});

test('data-track-ignore outside of a shadow root covers the forms inside', async (scene) => {
  const tab = await scene.open('/', {
    options: { pageviews: 'false', clicks: 'false' },
    body: `<div data-track-ignore><p id="host"></p></div><script>
      const root = document.getElementById('host').attachShadow({ mode: 'open' });
      root.innerHTML = '<form><input><button>Go</button></form>';
      root.querySelector('form').addEventListener('submit', (event) => event.preventDefault());
    </script>`,
  });
  await tab.click('#host button');
  await tab.evaluate(`weir('marker')`);
  await scene.rows(1);
});

test('a form whose inputs are named id, action, name and method is told by its own attributes', async (scene) => {
  const thanks = scene.site.put('/thanks', {});
  const names = ['id', 'action', 'name', 'method', 'elements', 'length', 'submit', 'target'];
  const tab = await scene.open('/contact', {
    options: FORMS,
    body: `<form id="contact" name="contact-form" method="post" action="/thanks">
      ${names.map((name) => `<input name="${name}" value="1">`).join('')}<button>Send</button>
    </form>`,
  });
  // The tool's own click stumbles over these names.
  await tab.evaluate(`document.querySelector('button').click()`);
  await tab.waitForURL(thanks);
  const { data } = await form(scene);
  assert.equal(data.elementId, 'contact');
  assert.equal(data.name, 'contact-form');
  assert.equal(data.method, 'post');
  assert.ok(String(data.action).endsWith('/thanks'));
  assert.equal(scene.site.visited(thanks)[0]?.body, names.map((name) => `${name}=1`).join('&'));
});

test('a form that a script sends, and whose submit event it stops at once, is one form_submit', async (scene) => {
  const tab = await scene.open('/contact', {
    options: FORMS,
    body: `<form id="ajax" action="/native"><input name="q"><button>Send</button></form><script>
      document.querySelector('form').addEventListener('submit', (event) => {
        event.preventDefault();
        event.stopImmediatePropagation();
        fetch('/ajax', { method: 'POST', body: new FormData(event.target) });
      });
    </script>`,
  });
  await tab.fill('input', 'shoes');
  await tab.press('input', 'Enter');
  assert.equal((await form(scene)).data.elementId, 'ajax');
  assert.equal(scene.site.visited(scene.site.url('/ajax')).length, 1);
  assert.equal(tab.url(), scene.site.url('/contact'), 'the browser did not send it as well');
});

test('a form in a shadow root is one form_submit, however often it has the focus', async (scene) => {
  const thanks = scene.site.put('/thanks', {});
  const tab = await scene.open('/contact', {
    options: FORMS,
    body: `<div id="card"></div><script>
      document.querySelector('#card').attachShadow({ mode: 'open' }).innerHTML =
        '<form id="inner" method="post" action="/thanks"><input name="a"><input name="b"><button>Send</button></form>';
    </script>`,
  });
  await tab.fill('#card [name=a]', 'one');
  await tab.fill('#card [name=b]', 'two');
  await tab.focus('#card [name=a]');
  await tab.click('#card button');
  await tab.waitForURL(thanks);
  assert.equal((await form(scene)).data.elementId, 'inner');
  assert.equal(scene.site.visited(thanks)[0]?.body, 'a=one&b=two');
});

test('a form in a shadow root inside a shadow root is one form_submit', async (scene) => {
  const tab = await scene.open('/contact', {
    options: FORMS,
    body: `<div id="outer"></div><script>
      const outer = document.querySelector('#outer').attachShadow({ mode: 'open' });
      outer.innerHTML = '<div id="middle"></div>';
      const inner = outer.querySelector('#middle').attachShadow({ mode: 'open' });
      inner.innerHTML = '<form id="inner"><input name="a"><button>Send</button></form>';
      inner.querySelector('form').addEventListener('submit', (event) => event.preventDefault());
    </script>`,
  });
  await tab.fill('[name=a]', 'one');
  await tab.press('[name=a]', 'Enter');
  assert.equal((await form(scene)).data.elementId, 'inner');
});

test('forms in shadow roots of one element that are sent from the keyboard are one form_submit each', async (scene) => {
  const tab = await scene.open('/contact', {
    options: FORMS,
    body: `<div id="app"></div><script>
      const app = document.querySelector('#app').attachShadow({ mode: 'open' });
      for (const name of ['one', 'two']) {
        const host = app.appendChild(document.createElement('div'));
        host.attachShadow({ mode: 'open' }).innerHTML =
          '<form id="' + name + '" onsubmit="return false"><input name="' + name + '"></form>';
      }
    </script>`,
  });
  await tab.focus('[name=one]');
  await tab.keyboard.press('Enter');
  // No window hears of a focus that stays within one element's shadow root.
  await tab.keyboard.press('Tab');
  await tab.keyboard.press('Enter');
  const rows = await scene.rows(2);
  assert.deepEqual(rows.map(({ data }) => data.elementId).sort(), ['one', 'two']);
});

test('a form in a shadow root that had the focus before the script came is one form_submit', async (scene) => {
  const script = gate();
  scene.wire.holdScript = script.opened;
  const url = scene.put('/contact', {
    options: FORMS,
    body: `<div id="card"></div><script>
      const root = document.querySelector('#card').attachShadow({ mode: 'open' });
      root.innerHTML = '<form id="inner" onsubmit="return false"><input></form>';
      root.querySelector('input').focus();
    </script>`,
  });
  const tab = await scene.context.newPage();
  await tab.goto(url, { waitUntil: 'commit' });
  await tab.waitForSelector('#card input:focus');
  script.open();
  await tab.waitForLoadState();
  await tab.keyboard.type('abc');
  await tab.keyboard.press('Enter');
  assert.equal((await form(scene)).data.elementId, 'inner');
});

test('a form that is filled in wrongly and not submitted is no form_submit', async (scene) => {
  const tab = await scene.open('/contact', {
    options: FORMS,
    body: '<form><input type="email" required><button>Send</button></form>',
  });
  await tab.click('button');
  await tab.evaluate(`weir('marker')`);
  await scene.rows(1);
});

test('no form counts when they are off, or when it is to be ignored', async (scene) => {
  const body = '<form onsubmit="return false"><button>Send</button></form>';
  for (const page of [
    { options: { ...FORMS, forms: 'false' }, body },
    { options: FORMS, body: `<div data-track-ignore>${body}</div>` },
  ]) {
    const tab = await scene.open('/contact', page);
    await tab.click('button');
    await tab.evaluate(`weir('marker')`);
  }
  await scene.rows(2, { type: 'marker' });
  await scene.rows(2);
});

/** What visitors type, and what pages hide: none of it may ever be sent. */
const SECRETS = {
  text: 'Typed-in-text',
  password: 'Typed-in-password',
  email: 'typed-in@mail.test',
  tel: '0301234567890',
  number: '4111111111111111',
  search: 'Typed-in-search',
  url: 'http://typed-in.test/',
};

test('nothing that is typed, chosen or hidden in a form is ever on the wire', async (scene) => {
  const types = Object.keys(SECRETS);
  const tab = await scene.open('/contact', {
    body: `<form id="signup" method="post" action="/thanks?session=Hidden-session-0123456789abcdef">
      ${types.map((type) => `<label>${type}<input type="${type}" name="${type}"></label>`).join('')}
      <textarea name="message"></textarea><div contenteditable="true" role="textbox">note</div>
      <select name="choice"><option>none</option><option value="Hidden-choice">Chosen-label</option></select>
      <input type="hidden" name="csrf" value="Hidden-csrf"><input type="checkbox" name="agree" value="Hidden-checkbox">
      <button type="button" value="Hidden-button" name="more">More</button>
      <input type="submit" name="send" value="Send">
    </form>`,
  });
  for (const [type, secret] of Object.entries(SECRETS)) await tab.fill(`input[type=${type}]`, secret);
  await tab.fill('textarea', 'Typed-in-message');
  await tab.click('[contenteditable]');
  await tab.fill('[contenteditable]', 'Typed-in-note');
  await tab.click('[contenteditable]');
  await tab.selectOption('select', 'Hidden-choice');
  for (const field of await tab
    .locator('input:not([type=hidden]):not([type=submit]), textarea, select, button')
    .all()) {
    await field.click();
  }
  scene.put('/thanks');
  await tab.click('[type=submit]');
  await tab.waitForURL('**/thanks?*');
  await scene.rows(1, { type: 'form_submit' });
  const sent = JSON.stringify(scene.wire.all.map(({ path, headers, body }) => [path, headers, body]));
  const secrets = ['Typed-in', 'typed-in', 'Hidden-', 'Chosen-label', SECRETS.tel, SECRETS.number];
  for (const secret of secrets) assert.ok(!sent.includes(secret), `${secret} was sent`);
  const [visit] = scene.site.visits.filter(({ method }) => method === 'POST');
  assert.ok(visit?.body.includes('Typed-in-password'), 'the form itself has it');
});

test('a click on something that holds fields does not send what is in them', async (scene) => {
  const tab = await scene.open('/editor', {
    options: { ...FORMS, clicks: 'true' },
    body: `<div data-track="editor"><p id="here">Editor</p>
      <textarea>Prefilled-text</textarea><select><option selected>Prefilled-choice</option></select>
      <div contenteditable="true" id="note"></div>
    </div><div id="alone" role="button" contenteditable="true"></div>`,
  });
  await tab.fill('textarea', 'Typed-in-text');
  await tab.fill('#note', 'Typed-in-note');
  await tab.fill('#alone', 'Typed-in-alone');
  for (const place of ['#here', 'textarea', '#note', '#alone']) await tab.click(place);
  await tab.evaluate(`weir('marker')`);
  await scene.rows(1, { type: 'marker' });
  assert.ok(scene.sent().length > 1, 'clicks were sent');
  const sent = JSON.stringify(scene.sent());
  for (const secret of ['Prefilled', 'Typed-in'])
    assert.ok(!sent.includes(secret), `${secret} was sent: ${sent}`);
});
