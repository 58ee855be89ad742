// Ferry's channels: `#include <ferry/channels.h>`.
//   either side  ferry::channel, ferry::message (engine/channel/channel.h, message.h)
//   one pair     ferry::channel_listener (listener.h), ferry::connect_channel (connect.h)
//   many         ferry::channel_factory and what it is made of (engine/channel/factory/)
#pragma once
#include "engine/channel/awaitables.h"
#include "engine/channel/connect.h"
#include "engine/channel/factory/factory.h"
#include "engine/channel/factory/monitor.h"
#include "engine/channel/factory/socket_paths.h"
#include "engine/channel/factory/standard_transports.h"
#include "engine/channel/listener.h"
