// SPDX-License-Identifier: Apache-2.0
// ews-javascript-api as a process: arguments URL ADDRESS PASSWORD; one JSON command a line on standard input, one JSON answer a line
// on standard output. exchangelib_client.py understands the same commands.
'use strict';
const readline = require('readline');
const ews = require('ews-javascript-api');

const [url, address, password] = process.argv.slice(2);
const service = new ews.ExchangeService(ews.ExchangeVersion.Exchange2016);
service.Credentials = new ews.WebCredentials(address, password);
service.Url = new ews.Uri(url);
const inboxOnly = [new ews.FolderId(ews.WellKnownFolderName.Inbox)];
const say = (answer) => process.stdout.write(JSON.stringify(answer) + '\n');
let goOn = null;  // takes the next line, while a command waits for one

async function newest(count) {
  const view = new ews.ItemView(count);
  view.PropertySet = new ews.PropertySet(ews.BasePropertySet.IdOnly, [ews.ItemSchema.Subject]);
  return (await service.FindItems(ews.WellKnownFolderName.Inbox, view)).Items;
}

function events(list) {
  return list.map((event) => ews.EventType[event.EventType] + 'Event');
}

// The first event of a stream; `subscribed` is told before, so that a mail can be sent in between.
async function stream() {
  const subscription = await service.SubscribeToStreamingNotifications(inboxOnly, ews.EventType.NewMail);
  const connection = new ews.StreamingSubscriptionConnection(service, 1);
  connection.AddSubscription(subscription);
  return await new Promise((resolve, reject) => {
    connection.OnNotificationEvent.push((_, told) => {
      resolve({events: events(told.Events)});
      connection.Close();
    });
    connection.OnSubscriptionError.push((_, told) => reject(told.Exception || new Error('the stream ended')));
    connection.Open();
    say({subscribed: subscription.Id});
  });
}

async function pull() {
  const subscription = await service.SubscribeToPullNotifications(inboxOnly, 5, null, ews.EventType.NewMail);
  say({subscribed: subscription.Id});
  await new Promise((resolve) => { goOn = resolve; });
  const told = await subscription.GetEvents();
  await subscription.Unsubscribe();
  return {events: events(told.AllEvents)};
}

async function run(command) {
  switch (command.do) {
    case 'folder': {
      const inbox = await ews.Folder.Bind(service, ews.WellKnownFolderName.Inbox);
      return {name: inbox.DisplayName, total: inbox.TotalCount, unread: inbox.UnreadCount};
    }
    case 'find':
      return {subjects: (await newest(100)).map((item) => item.Subject)};
    case 'get': {
      const message = await ews.EmailMessage.Bind(service, (await newest(1))[0].Id);
      return {subject: message.Subject, sender: message.Sender.Address};
    }
    case 'push': {
      const made = await service.SubscribeToPushNotifications(inboxOnly, new ews.Uri(command.url), 30, '', ews.EventType.NewMail);
      return {subscription: made.Id, watermark: Boolean(made.Watermark)};
    }
    case 'pull':
      return await pull();
    case 'stream':
      return await stream();
    case 'resolve': {
      const found = await service.ResolveName(command.name);
      return {addresses: Array.from({length: found.Count}, (_, index) => found._getItem(index).Mailbox.Address)};
    }
    default:
      throw new Error(command.do);
  }
}

readline.createInterface({input: process.stdin}).on('line', async (line) => {
  if (goOn) {
    const waiting = goOn;
    goOn = null;
    waiting();
    return;
  }
  const begun = process.hrtime.bigint();
  let answer;
  try {
    answer = await run(JSON.parse(line));
  } catch (error) {
    answer = {error: ews.ServiceError[error.ErrorCode] || error.name || 'Error', message: String(error.message || error)};
  }
  answer.seconds = Number(process.hrtime.bigint() - begun) / 1e9;
  say(answer);
}).on('close', () => process.exit(0));
