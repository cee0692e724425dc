// SPDX-License-Identifier: Apache-2.0
#include "store/memory/memory_store.h"

#include <map>
#include <mutex>
#include <string>

#include "store/operations.h"
#include "store/rows.h"

namespace bellhop::store {
namespace {

using Rows = std::map<std::string, std::string, std::less<>>;

struct Tables {
  std::array<Rows, kTableCount> rows;
  size_t size = 0;  // bytes of all keys and values
  size_t size_max = SIZE_MAX;
};

template <class View>
class MemoryView : public View {
 public:
  explicit MemoryView(Tables& tables) : tables_(tables) {}

  Result<std::optional<Bytes>> get(Table table, Bytes key) override {
    const Rows& rows = tables_.rows[size_t(table)];
    auto it = rows.find(as_text(key));
    if (it == rows.end()) return std::optional<Bytes>();
    return std::optional<Bytes>(as_bytes(it->second));
  }
  Result<std::optional<Entry>> seek(Table table, Bytes from) override {
    const Rows& rows = tables_.rows[size_t(table)];
    return entry(rows, rows.lower_bound(as_text(from)));
  }
  Result<std::optional<Entry>> last(Table table) override {
    const Rows& rows = tables_.rows[size_t(table)];
    return entry(rows, rows.empty() ? rows.end() : std::prev(rows.end()));
  }
  Result<uint64_t> count(Table table) override { return tables_.rows[size_t(table)].size(); }

 protected:
  static std::optional<Entry> entry(const Rows& rows, Rows::const_iterator it) {
    if (it == rows.end()) return std::nullopt;
    return Entry{as_bytes(it->first), as_bytes(it->second)};
  }
  Tables& tables_;
};

class MemoryWriteView : public MemoryView<WriteView> {
 public:
  using MemoryView::MemoryView;

  Status put(Table table, Bytes key, Bytes value) override {
    ++changes_;
    std::string new_key(as_text(key)), new_value(as_text(value));  // they may point into what is replaced
    BH_CHECK(new_key.size() <= kKeySizeMax && !new_key.empty());
    remember(table, new_key);
    Rows& rows = tables_.rows[size_t(table)];
    auto [it, added] = rows.try_emplace(std::move(new_key));
    tables_.size += new_value.size() + (added ? it->first.size() : 0);
    tables_.size -= it->second.size();
    it->second = std::move(new_value);
    if (tables_.size > tables_.size_max) return fail(store_error(StoreError::full));
    return {};
  }
  Status erase(Table table, Bytes key) override {
    ++changes_;
    Rows& rows = tables_.rows[size_t(table)];
    auto it = rows.find(as_text(key));
    if (it == rows.end()) return {};
    remember(table, it->first);
    tables_.size -= it->first.size() + it->second.size();
    rows.erase(it);
    return {};
  }
  void roll_back() {
    for (; !undo_.empty(); undo_.pop_back()) {
      auto& [table, key, value] = undo_.back();
      Rows& rows = tables_.rows[size_t(table)];
      if (auto it = rows.find(key); it != rows.end()) {
        tables_.size -= key.size() + it->second.size();
        rows.erase(it);
      }
      if (!value) continue;
      tables_.size += key.size() + value->size();
      rows.emplace(std::move(key), *std::move(value));
    }
  }

 private:
  struct Undo {
    Table table;
    std::string key;
    std::optional<std::string> value;  // before
  };
  void remember(Table table, std::string_view key) {
    const Rows& rows = tables_.rows[size_t(table)];
    auto it = rows.find(key);
    undo_.push_back({table, std::string(key), it == rows.end() ? std::nullopt : std::optional(it->second)});
  }
  std::vector<Undo> undo_;
};

class MemoryEngine : public Engine {
 public:
  explicit MemoryEngine(size_t size_max) { tables_.size_max = size_max; }

  Status read(FunctionRef<Status(ReadView&)> f) override {
    std::lock_guard lock(mutex_);
    MemoryView<ReadView> view(tables_);
    return f(view);
  }
  Status write(FunctionRef<Status(WriteView&)> f) override {
    std::lock_guard lock(mutex_);
    MemoryWriteView view(tables_);
    Status status = f(view);
    if (!status) view.roll_back();
    return status;
  }
  Result<FileUse> file_use() override {
    std::lock_guard lock(mutex_);
    return FileUse{.file_bytes = tables_.size, .table_bytes = tables_.size, .map_bytes = tables_.size_max};
  }

 private:
  std::mutex mutex_;  // cores on threads of their own read while the writer writes
  Tables tables_;
};

}  // namespace

std::unique_ptr<MemoryStore> MemoryStore::create(size_t size_max) {
  auto engine = std::make_unique<MemoryEngine>(size_max);
  Status prepared = engine->write([](WriteView& view) { return operations::prepare_schema(view); });
  BH_CHECK(prepared);
  return std::unique_ptr<MemoryStore>(new MemoryStore(std::move(engine)));
}

}  // namespace bellhop::store
