#include "engine/channel/factory/address_board.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/channel/factory/publisher.h"

namespace ferry {
namespace {

bool is_address(std::string_view text) {
  return !text.empty() && text.size() <= address_board::max_address_bytes &&
         std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
}

}  // namespace

result<std::string, channel_error> address_board::file_for(const runtime_instance_id& instance,
                                                           std::string_view transport) const {
  const std::string ending = std::string(".").append(transport);
  if (ending == socket_paths::stream_ending || ending == socket_paths::packet_ending) {
    return channel_error(errc::invalid_configuration,
                         "a transport whose name is a socket's ending");
  }
  const auto path = paths_.path_for(instance, ending);
  if (!path) return path.error();
  return path->substr(path->rfind('/') + 1);
}

result<void, channel_error> address_board::publish(const runtime_instance_id& instance,
                                                   std::string_view transport,
                                                   std::string_view address) const {
  if (!is_address(address)) {
    return channel_error(errc::invalid_configuration,
                         "an address that is not 1 to 255 visible characters");
  }
  const auto file = file_for(instance, transport);
  if (!file) return file.error();
  std::string text = std::string(address) + "\n";
  if (const auto by = publisher::self()) text += by->text() + "\n";
  return paths_.directory().write(*file, text);
}

result<std::string, channel_error> address_board::find(const runtime_instance_id& instance,
                                                       std::string_view transport) const {
  const auto file = file_for(instance, transport);
  if (!file) return file.error();
  const auto text = paths_.directory().read(*file);
  if (!text) {
    if (text.error().code != errc::empty) return text;
    return channel_error(
        errc::connection_failed,
        instance.full_id() + " published no address for " + std::string(transport));
  }
  const auto end = text->find('\n');
  std::string address = text->substr(0, end);
  const std::string rest = end == std::string::npos ? "" : text->substr(end + 1);
  const auto by = publisher::parse(rest);
  if (!is_address(address) || (!by && !rest.empty())) {
    return channel_error(errc::corrupt, *file + " holds no address");
  }
  if (by && by->has_ended()) {  // its port may be anybody's by now
    return channel_error(errc::connection_failed,
                         fmt::format("process {}, which published {} for {}, has ended", by->pid,
                                     address, instance.full_id()));
  }
  return address;
}

void address_board::withdraw(const runtime_instance_id& instance,
                             std::string_view transport) const {
  if (const auto file = file_for(instance, transport)) paths_.directory().remove(*file);
}

}  // namespace ferry
