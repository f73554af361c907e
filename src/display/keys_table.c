/* SPDX-License-Identifier: MIT */
/*
 * The keys that a PC's keyboard may have: 105 and 106 keys, those of Japan, Korea and Brazil, multimedia. Numbers of set 1
 * are those by which Linux' atkbd driver knows the keys when the controller translates, and that RFB viewers send; numbers
 * of set 2 are what the controller translates to them (tests/unit/keys sends each through dev/i8042.c). Two keys are
 * apart: Korean keyboards have codes above 0x7f for Hangul and Hanja, which pass untranslated, and nothing for up.
 */
#include <linux/input-event-codes.h>

#include "base/util.h"
#include "display/keys-int.h"

#define K(name, xt, set2) {"KEY_" #name, KEY_##name, xt, set2}

const struct key_row key_rows[] = {
	K(ESC, 0x01, 0x76), K(1, 0x02, 0x16), K(2, 0x03, 0x1e), K(3, 0x04, 0x26), K(4, 0x05, 0x25),
	K(5, 0x06, 0x2e), K(6, 0x07, 0x36), K(7, 0x08, 0x3d), K(8, 0x09, 0x3e), K(9, 0x0a, 0x46),
	K(0, 0x0b, 0x45), K(MINUS, 0x0c, 0x4e), K(EQUAL, 0x0d, 0x55), K(BACKSPACE, 0x0e, 0x66),
	K(TAB, 0x0f, 0x0d), K(Q, 0x10, 0x15), K(W, 0x11, 0x1d), K(E, 0x12, 0x24), K(R, 0x13, 0x2d),
	K(T, 0x14, 0x2c), K(Y, 0x15, 0x35), K(U, 0x16, 0x3c), K(I, 0x17, 0x43), K(O, 0x18, 0x44),
	K(P, 0x19, 0x4d), K(LEFTBRACE, 0x1a, 0x54), K(RIGHTBRACE, 0x1b, 0x5b), K(ENTER, 0x1c, 0x5a),
	K(LEFTCTRL, 0x1d, 0x14), K(A, 0x1e, 0x1c), K(S, 0x1f, 0x1b), K(D, 0x20, 0x23), K(F, 0x21, 0x2b),
	K(G, 0x22, 0x34), K(H, 0x23, 0x33), K(J, 0x24, 0x3b), K(K, 0x25, 0x42), K(L, 0x26, 0x4b),
	K(SEMICOLON, 0x27, 0x4c), K(APOSTROPHE, 0x28, 0x52), K(GRAVE, 0x29, 0x0e), K(LEFTSHIFT, 0x2a, 0x12),
	K(BACKSLASH, 0x2b, 0x5d), K(Z, 0x2c, 0x1a), K(X, 0x2d, 0x22), K(C, 0x2e, 0x21), K(V, 0x2f, 0x2a),
	K(B, 0x30, 0x32), K(N, 0x31, 0x31), K(M, 0x32, 0x3a), K(COMMA, 0x33, 0x41), K(DOT, 0x34, 0x49),
	K(SLASH, 0x35, 0x4a), K(RIGHTSHIFT, 0x36, 0x59), K(KPASTERISK, 0x37, 0x7c), K(LEFTALT, 0x38, 0x11),
	K(SPACE, 0x39, 0x29), K(CAPSLOCK, 0x3a, 0x58), K(F1, 0x3b, 0x05), K(F2, 0x3c, 0x06), K(F3, 0x3d, 0x04),
	K(F4, 0x3e, 0x0c), K(F5, 0x3f, 0x03), K(F6, 0x40, 0x0b), K(F7, 0x41, 0x83), K(F8, 0x42, 0x0a),
	K(F9, 0x43, 0x01), K(F10, 0x44, 0x09), K(NUMLOCK, 0x45, 0x77), K(SCROLLLOCK, 0x46, 0x7e),
	K(KP7, 0x47, 0x6c), K(KP8, 0x48, 0x75), K(KP9, 0x49, 0x7d), K(KPMINUS, 0x4a, 0x7b), K(KP4, 0x4b, 0x6b),
	K(KP5, 0x4c, 0x73), K(KP6, 0x4d, 0x74), K(KPPLUS, 0x4e, 0x79), K(KP1, 0x4f, 0x69), K(KP2, 0x50, 0x72),
	K(KP3, 0x51, 0x7a), K(KP0, 0x52, 0x70), K(KPDOT, 0x53, 0x71), K(ZENKAKUHANKAKU, 0x76, 0x5f),
	K(102ND, 0x56, 0x61), K(F11, 0x57, 0x78), K(F12, 0x58, 0x07), K(RO, 0x73, 0x51),
	K(KATAKANA, 0x78, 0x63), K(HIRAGANA, 0x77, 0x62), K(HENKAN, 0x79, 0x64),
	K(KATAKANAHIRAGANA, 0x70, 0x13), K(MUHENKAN, 0x7b, 0x67), K(KPJPCOMMA, 0x5c, 0x27),
	K(KPENTER, 0x9c, 0x15a), K(RIGHTCTRL, 0x9d, 0x114), K(KPSLASH, 0xb5, 0x14a), K(SYSRQ, 0xb7, SET2_PRINT),
	K(RIGHTALT, 0xb8, 0x111), K(LINEFEED, 0x5b, 0x1f), K(HOME, 0xc7, 0x16c), K(UP, 0xc8, 0x175),
	K(PAGEUP, 0xc9, 0x17d), K(LEFT, 0xcb, 0x16b), K(RIGHT, 0xcd, 0x174), K(END, 0xcf, 0x169),
	K(DOWN, 0xd0, 0x172), K(PAGEDOWN, 0xd1, 0x17a), K(INSERT, 0xd2, 0x170), K(DELETE, 0xd3, 0x171),
	K(MACRO, 0xef, 0x16f), K(MUTE, 0xa0, 0x123), K(VOLUMEDOWN, 0xae, 0x121), K(VOLUMEUP, 0xb0, 0x132),
	K(POWER, 0xde, 0x137), K(KPEQUAL, 0x59, 0x0f), K(KPPLUSMINUS, 0xce, 0x179), K(PAUSE, 0xc6, SET2_PAUSE),
	K(SCALE, 0x8b, 0x145), K(KPCOMMA, 0x7e, 0x6d), K(HANGEUL, 0x72, 0xf2), K(HANJA, 0x71, 0xf1),
	K(YEN, 0x7d, 0x6a), K(LEFTMETA, 0xdb, 0x11f), K(RIGHTMETA, 0xdc, 0x127), K(COMPOSE, 0xdd, 0x12f),
	K(STOP, 0xe8, 0x128), K(AGAIN, 0x85, 0x125), K(PROPS, 0x86, 0x12e), K(UNDO, 0x87, 0x136),
	K(FRONT, 0x8c, 0x14e), K(COPY, 0xf8, 0x163), K(OPEN, 0x64, 0x08), K(PASTE, 0x65, 0x10),
	K(FIND, 0xc1, 0x102), K(CUT, 0xbc, 0x106), K(HELP, 0xf5, 0x15c), K(MENU, 0x9e, 0x11c),
	K(CALC, 0xa1, 0x12b), K(SETUP, 0x66, 0x18), K(SLEEP, 0xdf, 0x13f), K(WAKEUP, 0xe3, 0x15e),
	K(FILE, 0x67, 0x20), K(SENDFILE, 0x68, 0x28), K(DELETEFILE, 0x69, 0x30), K(XFER, 0x93, 0x12d),
	K(PROG1, 0x9f, 0x11b), K(PROG2, 0x97, 0x143), K(WWW, 0x82, 0x116), K(MSDOS, 0x6a, 0x38),
	K(COFFEE, 0x92, 0x124), K(ROTATE_DISPLAY, 0x6b, 0x40), K(CYCLEWINDOWS, 0xa6, 0x14b),
	K(MAIL, 0xec, 0x148), K(BOOKMARKS, 0xe6, 0x118), K(COMPUTER, 0xeb, 0x140), K(BACK, 0xea, 0x138),
	K(FORWARD, 0xe9, 0x130), K(CLOSECD, 0xa3, 0x133), K(EJECTCD, 0x6c, 0x48), K(EJECTCLOSECD, 0xfd, 0x16a),
	K(NEXTSONG, 0x99, 0x14d), K(PLAYPAUSE, 0xa2, 0x134), K(PREVIOUSSONG, 0x90, 0x115),
	K(STOPCD, 0xa4, 0x13b), K(RECORD, 0xb1, 0x131), K(REWIND, 0x98, 0x144), K(PHONE, 0x63, 0x5e),
	K(CONFIG, 0x81, 0x176), K(HOMEPAGE, 0xb2, 0x13a), K(REFRESH, 0xe7, 0x120), K(EDIT, 0x88, 0x13d),
	K(SCROLLUP, 0x75, 0x5c), K(SCROLLDOWN, 0x8f, 0x10d), K(KPLEFTPAREN, 0xf6, 0x15f),
	K(KPRIGHTPAREN, 0xfb, 0x167), K(NEW, 0x89, 0x13e), K(REDO, 0x8a, 0x146), K(F13, 0x5d, 0x2f),
	K(F14, 0x5e, 0x37), K(F15, 0x5f, 0x3f), K(F16, 0x55, 0x60), K(F17, 0x83, 0x11e), K(F18, 0xf7, 0x162),
	K(F19, 0x84, 0x126), K(F20, 0x5a, 0x17), K(F21, 0x74, 0x53), K(F22, 0xf9, 0x164), K(F23, 0x6d, 0x50),
	K(F24, 0x6f, 0x6f), K(SUSPEND, 0xa5, 0x142), K(SEARCH, 0xe5, 0x110), K(MEDIA, 0xed, 0x150),
};
const unsigned key_nrows = ARRAY_LEN(key_rows);

/* What people write, and QEMU's names, where they differ from Linux' */
const struct key_alias key_aliases[] = {
	{"ctrl", KEY_LEFTCTRL}, {"control", KEY_LEFTCTRL}, {"ctrl_l", KEY_LEFTCTRL}, {"ctrl_r", KEY_RIGHTCTRL},
	{"lctrl", KEY_LEFTCTRL}, {"rctrl", KEY_RIGHTCTRL}, {"shift", KEY_LEFTSHIFT}, {"shift_l", KEY_LEFTSHIFT},
	{"shift_r", KEY_RIGHTSHIFT}, {"lshift", KEY_LEFTSHIFT}, {"rshift", KEY_RIGHTSHIFT},
	{"alt", KEY_LEFTALT}, {"alt_l", KEY_LEFTALT}, {"alt_r", KEY_RIGHTALT}, {"lalt", KEY_LEFTALT},
	{"ralt", KEY_RIGHTALT}, {"altgr", KEY_RIGHTALT}, {"alt_gr", KEY_RIGHTALT}, {"option", KEY_LEFTALT},
	{"super", KEY_LEFTMETA}, {"super_l", KEY_LEFTMETA}, {"super_r", KEY_RIGHTMETA}, {"win", KEY_LEFTMETA},
	{"windows", KEY_LEFTMETA}, {"cmd", KEY_LEFTMETA}, {"meta", KEY_LEFTMETA}, {"meta_l", KEY_LEFTMETA},
	{"meta_r", KEY_RIGHTMETA}, {"menu", KEY_COMPOSE}, {"compose", KEY_COMPOSE}, {"apps", KEY_COMPOSE},
	{"del", KEY_DELETE}, {"ins", KEY_INSERT}, {"return", KEY_ENTER}, {"ret", KEY_ENTER}, {"escape", KEY_ESC},
	{"spc", KEY_SPACE}, {"bksp", KEY_BACKSPACE}, {"pgup", KEY_PAGEUP}, {"page_up", KEY_PAGEUP},
	{"pgdn", KEY_PAGEDOWN}, {"page_down", KEY_PAGEDOWN}, {"print", KEY_SYSRQ}, {"prtsc", KEY_SYSRQ},
	{"printscreen", KEY_SYSRQ}, {"print_screen", KEY_SYSRQ}, {"break", KEY_PAUSE}, {"caps", KEY_CAPSLOCK},
	{"caps_lock", KEY_CAPSLOCK}, {"num", KEY_NUMLOCK}, {"num_lock", KEY_NUMLOCK}, {"scroll", KEY_SCROLLLOCK},
	{"scroll_lock", KEY_SCROLLLOCK}, {"scrlk", KEY_SCROLLLOCK}, {"equals", KEY_EQUAL}, {"period", KEY_DOT},
	{"quote", KEY_APOSTROPHE}, {"backquote", KEY_GRAVE}, {"grave_accent", KEY_GRAVE},
	{"bracket_left", KEY_LEFTBRACE}, {"bracket_right", KEY_RIGHTBRACE}, {"bracketleft", KEY_LEFTBRACE},
	{"bracketright", KEY_RIGHTBRACE}, {"less", KEY_102ND}, {"yen", KEY_YEN}, {"lf", KEY_LINEFEED},
	{"plus", KEY_KPPLUS}, {"asterisk", KEY_KPASTERISK}, {"kp_0", KEY_KP0}, {"kp_1", KEY_KP1}, {"kp_2", KEY_KP2},
	{"kp_3", KEY_KP3}, {"kp_4", KEY_KP4}, {"kp_5", KEY_KP5}, {"kp_6", KEY_KP6}, {"kp_7", KEY_KP7},
	{"kp_8", KEY_KP8}, {"kp_9", KEY_KP9}, {"kp_divide", KEY_KPSLASH}, {"kp_multiply", KEY_KPASTERISK},
	{"kp_subtract", KEY_KPMINUS}, {"kp_minus", KEY_KPMINUS}, {"kp_add", KEY_KPPLUS}, {"kp_plus", KEY_KPPLUS},
	{"kp_enter", KEY_KPENTER}, {"kp_decimal", KEY_KPDOT}, {"kp_comma", KEY_KPCOMMA}, {"kp_equals", KEY_KPEQUAL},
	{"audionext", KEY_NEXTSONG}, {"audioprev", KEY_PREVIOUSSONG}, {"audiostop", KEY_STOPCD},
	{"audioplay", KEY_PLAYPAUSE}, {"audiomute", KEY_MUTE}, {"mediaselect", KEY_MEDIA}, {"calculator", KEY_CALC},
	{"ac_home", KEY_HOMEPAGE}, {"ac_back", KEY_BACK}, {"ac_forward", KEY_FORWARD}, {"ac_refresh", KEY_REFRESH},
	{"ac_bookmarks", KEY_BOOKMARKS}, {"wake", KEY_WAKEUP}, {"lang1", KEY_HANGEUL}, {"lang2", KEY_HANJA},
	/* what stands on a US keyboard; keys_parse() itself knows '-' and '+' */
	{"=", KEY_EQUAL}, {"[", KEY_LEFTBRACE}, {"]", KEY_RIGHTBRACE}, {";", KEY_SEMICOLON}, {"'", KEY_APOSTROPHE},
	{"`", KEY_GRAVE}, {"\\", KEY_BACKSLASH}, {",", KEY_COMMA}, {".", KEY_DOT}, {"/", KEY_SLASH}, {" ", KEY_SPACE},
	{"*", KEY_KPASTERISK}, {"<", KEY_102ND},
};
const unsigned key_naliases = ARRAY_LEN(key_aliases);
