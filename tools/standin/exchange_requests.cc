// SPDX-License-Identifier: Apache-2.0

// The requests that reached the stand-in, in the order in which their heads came. Each core keeps those of its own
// connections.

#include "tools/standin/exchange_requests.h"

#include <algorithm>

#include "tools/standin/exchange_part.h"

namespace bellhop::standin {

// Its number; 0: requests are not kept.
Task<uint64_t> Exchange::Part::enter_request(service::HttpExchange& exchange_) {
  if (shared.options.requests_kept == 0) co_return 0;
  auto peer = co_await exchange_.peer_address();
  ExchangeRequest entry{.number = shared.next_request.fetch_add(1), .at = io::now()};
  if (peer) entry.peer = peer->to_string();
  entry.method = proto::method_name(exchange_.method());
  entry.target = exchange_.target();
  const proto::HeaderBlock& headers = exchange_.headers();
  for (size_t i = 0; i < headers.size(); ++i) {
    proto::HeaderField field = headers.at(i);
    if (field.name != "authorization") entry.headers.emplace_back(field.name, field.value);
  }
  if (requests.size() == shared.options.requests_kept) {
    requests_forgotten = requests.front().number;
    requests.pop_front();
  }
  requests.push_back(std::move(entry));
  co_return requests.back().number;
}

ExchangeRequest* Exchange::Part::find_request(uint64_t id) {
  if (id == 0) return nullptr;
  auto at = std::ranges::lower_bound(requests, id, {}, &ExchangeRequest::number);
  return at != requests.end() && at->number == id ? &*at : nullptr;
}

Task<Exchange::RequestPage> Exchange::requests_after(uint64_t number, size_t count) {
  uint64_t end = shared_->next_request.load();  // as in ledger_after()
  RequestPage page;
  for (auto& part : parts_) {
    RequestPage some = co_await on_part(*part, [=](Part& p) {
      auto at = std::ranges::upper_bound(p.requests, number, {}, &ExchangeRequest::number);
      RequestPage out;
      out.forgotten = p.requests_forgotten;
      for (; at != p.requests.end() && out.requests.size() < count && at->number < end; ++at)
        out.requests.push_back(*at);
      return out;
    });
    page.forgotten = std::max(page.forgotten, some.forgotten);
    std::ranges::move(some.requests, std::back_inserter(page.requests));
  }
  std::ranges::sort(page.requests, {}, &ExchangeRequest::number);
  if (page.requests.size() > count) page.requests.resize(count);
  co_return page;
}

}  // namespace bellhop::standin
