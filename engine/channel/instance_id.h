// Who a channel belongs to: runtime type, instance, and optionally a namespace. A value, checked
// when it is made, so that it may become part of a file name.
// Layout    full_id() is "type:instance" or "namespace:type:instance".
// Threads   a plain value.
// Errors    make, parse: unsupported_runtime (an unknown type), invalid_configuration (a part that
//           is not 1 to 64 of [A-Za-z0-9._-], or is "." or "..").
// Source    engine/channel/README.md, "Identity".
#pragma once
#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "shm/result.h"

namespace ferry {

enum class runtime_type : std::uint8_t { process = 1, kubernetes = 2, wasm = 3 };

std::string_view name_of(runtime_type type) noexcept;            // "process"
result<runtime_type> parse_runtime_type(std::string_view name);  // unsupported_runtime

class runtime_instance_id {
 public:
  static constexpr std::size_t max_part_bytes = 64;

  // `space`: the namespace; empty = none.
  static result<runtime_instance_id> make(runtime_type type, std::string_view instance,
                                          std::string_view space = {});
  static result<runtime_instance_id> parse(std::string_view full_id);

  runtime_type type() const noexcept { return type_; }
  const std::string& instance() const noexcept { return instance_; }
  const std::string& space() const noexcept { return space_; }
  std::string full_id() const;

  // Ordered by namespace, type, instance.
  friend auto operator<=>(const runtime_instance_id&, const runtime_instance_id&) = default;

 private:
  runtime_instance_id(runtime_type type, std::string_view instance, std::string_view space)
      : space_(space), type_(type), instance_(instance) {}

  std::string space_;
  runtime_type type_;
  std::string instance_;
};

// Whether a text may stand as instance or namespace: see Errors above.
bool is_valid_id_part(std::string_view part) noexcept;

}  // namespace ferry

template <>
struct std::hash<ferry::runtime_instance_id> {
  std::size_t operator()(const ferry::runtime_instance_id& id) const noexcept;
};
