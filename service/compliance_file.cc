// SPDX-License-Identifier: Apache-2.0
#include "service/compliance_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/cross_core.h"
#include "service/compliance_lines.h"

namespace bellhop::service {
namespace {

constexpr size_t kPieceBytes = 16 * 1024;  // between two turns: about half a millisecond

}  // namespace

ComplianceFile::Look ComplianceFile::fail_with(SourceState state, std::string complaint, Duration stale_after) {
  compliance_.note_failure(tenant_, SourceKind::file, state, complaint, stale_after);
  Look look{.changed = complaint != complaint_, .good = false, .change = {}};
  complaint_ = std::move(complaint);
  return look;
}

Task<ComplianceFile::Look> ComplianceFile::look(Duration stale_after, uint64_t bytes_max) {
  Result<io::FileInfo> info = co_await offload(io::Worker::general, [this] { return io::file_info(path_); });
  if (!info) {
    seen_.reset();
    tried_.reset();  // what comes back is read, also where nobody has touched it: a share that was away
    unsettled_ = true;
    co_return fail_with(SourceState::unreachable,
                        fmt::format("{}: cannot be read: {}; put it back, or correct policy.source.file", path_,
                                    error_text(info.error())),
                        stale_after);
  }
  bool at_rest = seen_ == *info;
  seen_ = *info;
  unsettled_ = !at_rest;
  if (tried_ == *info || !at_rest) {
    if (tried_ == *info && complaint_.empty()) compliance_.note_success(tenant_, SourceKind::file, stale_after);
    if (tried_ == *info && !complaint_.empty()) co_return fail_with(SourceState::broken, complaint_, stale_after);
    if (!tried_) compliance_.note_failure(tenant_, SourceKind::file, SourceState::waiting, "", stale_after);
    co_return Look();
  }
  Look look{.changed = true, .good = true, .change = {}};
  std::string complaint;
  tried_ = *info;
  Status taken = co_await take(*info, bytes_max, look.change, complaint);
  if (!taken) {
    // What is not the file's fault is tried again with the next look.
    if (complaint.empty()) tried_.reset();
    SourceState state = complaint.empty() ? SourceState::unreachable : SourceState::broken;
    if (complaint.empty()) complaint = fmt::format("{}: not taken: {}", path_, error_text(taken.error()));
    co_return fail_with(state, std::move(complaint), stale_after);
  }
  complaint_.clear();
  compliance_.note_success(tenant_, SourceKind::file, stale_after);
  co_return look;
}

// `complaint` is filled where the file itself cannot be used.
Task<Status> ComplianceFile::take(const io::FileInfo& info, uint64_t bytes_max, ComplianceChange& change,
                                  std::string& complaint) {
  if (info.size > bytes_max) {
    complaint = fmt::format("{}: has {} bytes; accepted: at most policy.data_bytes_max ({})", path_, info.size, bytes_max);
    co_return fail(core_error(CoreError::limit));
  }
  Result<std::string> text = co_await offload(io::Worker::general, [this] { return io::read_file(path_); });
  if (!text) co_return fail(text.error());
  ComplianceBulk bulk = compliance_.begin(tenant_);
  ComplianceReader reader(false, [&](const ComplianceLine& line) { return compliance_.add(bulk, line); });
  Status read;
  for (size_t at = 0; read && at < text->size(); at += kPieceBytes) {
    read = reader.feed(std::string_view(*text).substr(at, kPieceBytes));
    co_await yield_now();
  }
  if (read) read = reader.finish();
  if (read && reader.lines() == 0) read = reader.refuse("the file names no device; to forget all, take the source out of the configuration and PUT an empty list");
  if (!read) {
    std::string why = reader.complaint().empty() ? error_text(read.error()) : reader.complaint();
    complaint = fmt::format("{}: {}; correct it, the data before it counts until then", path_, why);
    co_return read;
  }
  *text = {};
  Result<ComplianceChange> replaced = co_await compliance_.replace(std::move(bulk));
  if (!replaced) co_return fail(replaced.error());
  change = *std::move(replaced);
  co_return Status();
}

}  // namespace bellhop::service
