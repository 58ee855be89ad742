#include "engine/codec/holds_view.h"

#include <gtest/gtest.h>

namespace ferry {
namespace {

using bytes_view = std::span<const std::byte>;

struct plain {
  int number = 0;
  std::string text;
  std::vector<std::byte> data;
  static auto ferry_fields(auto& self) { return std::tie(self.number, self.text, self.data); }
};
struct line {
  int number = 0;
  std::string_view text;
  static auto ferry_fields(auto& self) { return std::tie(self.number, self.text); }
};
struct page {
  std::map<int, std::vector<line>> lines;
  static auto ferry_fields(auto& self) { return std::tie(self.lines); }
};
struct tree {
  std::string name;
  std::vector<tree> children;
  static auto ferry_fields(auto& self) { return std::tie(self.name, self.children); }
};
struct tree_of_views {
  std::vector<tree_of_views> children;
  std::string_view name;
  static auto ferry_fields(auto& self) { return std::tie(self.children, self.name); }
};
enum class color { red };

TEST(holds_view, is_true_of_views_wherever_they_stand) {
  static_assert(holds_view<std::string_view> && holds_view<const std::string_view&>);
  static_assert(holds_view<bytes_view> && holds_view<std::span<std::byte>>);
  static_assert(holds_view<const char*>);
  static_assert(holds_view<std::vector<std::string_view>>);
  static_assert(holds_view<std::array<bytes_view, 2>>);
  static_assert(holds_view<std::optional<std::string_view>>);
  static_assert(holds_view<std::pair<int, std::string_view>>);
  static_assert(holds_view<std::tuple<int, double, bytes_view>>);
  static_assert(holds_view<std::map<std::string, std::string_view>>);
  static_assert(holds_view<std::unordered_map<int, std::vector<bytes_view>>>);
  static_assert(holds_view<line> && holds_view<page> && holds_view<std::vector<page>>);
  static_assert(holds_view<tree_of_views>);
}

TEST(holds_view, is_false_of_what_owns_all_that_it_shows) {
  static_assert(!holds_view<int> && !holds_view<color> && !holds_view<double>);
  static_assert(!holds_view<std::string> && !holds_view<std::vector<std::byte>>);
  static_assert(!holds_view<std::vector<std::string>> && !holds_view<std::array<std::byte, 4>>);
  static_assert(!holds_view<std::optional<std::pair<int, std::tuple<std::string, bool>>>>);
  static_assert(!holds_view<std::map<std::string, std::vector<plain>>> && !holds_view<plain>);
  static_assert(!holds_view<tree> && !holds_view<std::optional<tree>>);  // contains itself
  static_assert(!holds_view<void> && !holds_view<std::tuple<>>);
}

}  // namespace
}  // namespace ferry
