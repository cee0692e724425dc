// SPDX-License-Identifier: Apache-2.0
// GET /v1/audit: whether every accepted event is accounted for.
#include "service/audit.h"

#include "proto/json_writer.h"
#include "service/admin_parts.h"

namespace bellhop::service::admin {

Task<void> audit(Call& call) {
  auto report = co_await service::audit(call.core);
  if (!report) {
    co_await respond_store_failure(call.exchange, report.error());
    co_return;
  }
  std::string body;
  proto::JsonWriter json(body);
  json.begin_object().member("balanced", report->findings.empty()).name("findings").begin_array();
  for (AuditFinding finding : report->findings) json.value(name_of(finding));
  json.end_array().member("imbalance", report->imbalance()).name("ledger").begin_object();
  append_ledger(json, report->all);
  json.end_object().name("cores").begin_array();
  for (const LedgerSnapshot& core : report->cores) {
    json.begin_object();
    append_ledger(json, core);
    json.end_object();
  }
  json.end_array()
      .name("journal")
      .begin_object()
      .member("counted", report->journal_counted)
      .member("stored", report->journal_stored)
      .member("restored", report->journal_restored)
      .member("lookedAt", report->journal_looked_at)
      .member("orphans", report->journal_orphans)
      .end_object()
      .end_object();
  co_await respond_json(call.exchange, body);
}

}  // namespace bellhop::service::admin
