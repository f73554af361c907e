/* SPDX-License-Identifier: MIT */
#include "vhost/proto.h"
