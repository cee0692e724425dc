// SPDX-License-Identifier: Apache-2.0
// docs/openapi.json against the tables that the handlers dispatch from: nothing is missing on either side. What the
// answers look like is compared by tests/e2e/openapi_test.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "proto/json.h"
#include "service/admin.h"
#include "service/admin_parts.h"
#include "service/public_handler.h"

namespace bellhop::service {
namespace {

using testing::Contains;
using testing::HasSubstr;

std::string line(const RouteInfo& route) { return std::string(proto::method_name(route.method)) + " " + route.path; }

std::set<std::string> lines_of(const std::vector<RouteInfo>& routes) {
  std::set<std::string> lines;
  for (const RouteInfo& route : routes) EXPECT_TRUE(lines.insert(line(route)).second) << "twice: " << line(route);
  return lines;
}

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = char(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return out;
}

// One operation of the document.
struct Operation {
  std::string line;
  std::string tag;
  std::set<std::string> statuses;
};

class Document {
 public:
  Document() : document_(proto::JsonDocument::parse(admin::openapi_document(), {.bytes_max = 1 << 20, .values_max = 1 << 16})) {}
  bool good() const { return document_.has_value(); }

  std::vector<Operation> operations() const {
    std::vector<Operation> all;
    proto::JsonObject paths = *document_->root().required_object("paths");
    for (size_t i = 0; i < paths.size(); ++i) {
      auto [path, value] = paths.at(i);
      proto::JsonObject item = resolve(*value.object(), "pathItems");
      for (size_t m = 0; m < item.size(); ++m) {
        auto [method, operation] = item.at(m);
        all.push_back(read(upper(method) + " " + std::string(path), *operation.object()));
      }
    }
    return all;
  }

 private:
  // {"$ref": "#/components/KIND/NAME"} → that one.
  proto::JsonObject resolve(proto::JsonObject object, std::string_view kind) const {
    auto reference = object.string("$ref");
    if (!reference || !*reference) return object;
    std::string_view name = (*reference)->substr((*reference)->rfind('/') + 1);
    return *document_->root().required_object("components")->required_object(kind)->required_object(name);
  }
  static Operation read(std::string line, proto::JsonObject operation) {
    Operation one{.line = std::move(line)};
    one.tag = std::string(*operation.required_array("tags")->at(0).string());
    proto::JsonObject responses = *operation.required_object("responses");
    for (size_t i = 0; i < responses.size(); ++i) one.statuses.insert(std::string(responses.at(i).name));
    return one;
  }

  Result<proto::JsonDocument> document_;
};

TEST(OpenApi, DescribesExactlyTheRoutesThatThereAre) {
  Document document;
  ASSERT_TRUE(document.good());
  std::set<std::string> on_public, on_admin;
  for (const Operation& operation : document.operations()) {
    (operation.tag == "admin" ? on_admin : on_public).insert(operation.line);
  }
  EXPECT_EQ(on_public, lines_of(PublicHandler::routes()));
  EXPECT_EQ(on_admin, lines_of(AdminApi::routes()));
}

TEST(OpenApi, NamesTheStatusesOfEachOperation) {
  Document document;
  ASSERT_TRUE(document.good());
  for (const Operation& operation : document.operations()) {
    EXPECT_FALSE(operation.statuses.empty()) << operation.line;
    bool good = false;
    for (const std::string& status : operation.statuses) {
      EXPECT_EQ(status.size(), 3u) << operation.line;
      good |= status.starts_with("2");
    }
    EXPECT_TRUE(good) << operation.line << " never succeeds";
    if (operation.tag == "devices" && operation.line.starts_with("POST")) {
      for (const char* status : {"401", "413", "422", "429", "503"}) {
        EXPECT_THAT(operation.statuses, Contains(status)) << operation.line;
      }
    }
  }
}

}  // namespace
}  // namespace bellhop::service
