/* KeyQuest: four rooms, a key, a locked door and a chest, for the Game Boy.
 *
 * The world is 20 x 16 cells of 16 x 16 pixels: four rooms of 10 x 8, one screen each. The start is
 * in the room at the top left; the key in one of its two neighbours; the chest in the fourth room,
 * whose only door is locked. Everything that happens can be read from fixed addresses (STATE).
 *
 * Build: python -m sensei.testing.rom   (needs SDCC)
 */

typedef unsigned char byte;
typedef unsigned int word;

#define REGISTER(address) (*(volatile byte *)(address))
#define JOYPAD REGISTER(0xFF00)
#define INTERRUPTS_SEEN REGISTER(0xFF0F)
#define LCD_CONTROL REGISTER(0xFF40)
#define LCD_STATUS REGISTER(0xFF41)
#define PALETTE REGISTER(0xFF47)
#define INTERRUPTS_ON REGISTER(0xFFFF)
#define TILES ((volatile byte *)0x8000)
#define SCREEN ((volatile byte *)0x9800)

/* STATE: what an adapter reads, and the two requests it may write. */
volatile byte __at(0xC000) ready;      /* 0x4B once the game runs */
volatile byte __at(0xC001) new_game;   /* write 1: start anew with `seed` */
volatile word __at(0xC002) seed;
volatile byte __at(0xC004) hero_x;     /* 0..19 */
volatile byte __at(0xC005) hero_y;     /* 0..15 */
volatile byte __at(0xC006) facing;     /* 0 up, 1 right, 2 down, 3 left */
volatile byte __at(0xC007) has_key;
volatile byte __at(0xC008) door_open;
volatile byte __at(0xC009) chest_open;
volatile byte __at(0xC00A) rooms_seen; /* one bit a room */
byte __at(0xC100) cells[320];          /* row by row, see below */

#define WIDTH 20
#define ROOM_WIDTH 10
#define ROOM_HEIGHT 8
#define CELL(x, y) cells[(word)(y) * WIDTH + (x)]

enum { FLOOR, WALL, LOCKED, OPENED, KEY, CHEST, EMPTY_CHEST, HERO_UP, HERO_RIGHT, HERO_DOWN,
       HERO_LEFT, BLANK, PICTURES };

/* 8 x 8 pictures, doubled on the screen. ' ' is the lightest shade, then '.', 'o', '#'. */
static const char *const pictures[PICTURES] = {
    /* FLOOR */
    "        "
    "   .    "
    "        "
    "       ."
    "        "
    " .      "
    "        "
    "     .  ",
    /* WALL */
    "########"
    "#ooo#ooo"
    "#ooo#ooo"
    "########"
    "ooo#ooo#"
    "ooo#ooo#"
    "########"
    "#ooo#ooo",
    /* LOCKED */
    "########"
    "#.o..o.#"
    "#.o..o.#"
    "#.o##o.#"
    "#.o##o.#"
    "#.o..o.#"
    "#.o..o.#"
    "########",
    /* OPENED */
    "##....##"
    "#      #"
    "#      #"
    "#      #"
    "#      #"
    "#      #"
    "#      #"
    "##....##",
    /* KEY */
    "        "
    " ###    "
    "## ##   "
    "#   ####"
    "## ## ##"
    " ###  # "
    "        "
    "        ",
    /* CHEST */
    "        "
    " ###### "
    "#oooooo#"
    "########"
    "#..##..#"
    "#..##..#"
    "#......#"
    "########",
    /* EMPTY_CHEST */
    "########"
    "#      #"
    "#      #"
    "########"
    "#......#"
    "#......#"
    "#......#"
    "########",
    /* HERO_UP */
    "  ####  "
    " ###### "
    " ###### "
    "  oooo  "
    " oooooo "
    "o oooo o"
    "  o  o  "
    " ##  ## ",
    /* HERO_RIGHT */
    "  ####  "
    " ###### "
    " ##..#. "
    "  ....  "
    "  oooo  "
    "  oooooo"
    "  o  o  "
    "  ## ## ",
    /* HERO_DOWN */
    "  ####  "
    " ###### "
    " #.##.# "
    "  ....  "
    " oooooo "
    "o oooo o"
    "  o  o  "
    " ##  ## ",
    /* HERO_LEFT */
    "  ####  "
    " ###### "
    " .#..## "
    "  ....  "
    "  oooo  "
    "oooooo  "
    "  o  o  "
    " ## ##  ",
    /* BLANK */
    "........"
    "........"
    "........"
    "........"
    "........"
    "........"
    "........"
    "........",
};

static word random_state;
static byte shown_room;
static byte held_before;

/* xorshift of 16 bits; any state but 0. */
static byte random_below(byte bound) {
    random_state ^= random_state << 7;
    random_state ^= random_state >> 9;
    random_state ^= random_state << 8;
    return (byte)(random_state % bound);
}

static byte shade(char mark) {
    return mark == '#' ? 3 : mark == 'o' ? 2 : mark == '.' ? 1 : 0;
}

/* Write the four 8 x 8 tiles of a doubled picture. */
static void load_picture(byte picture) {
    byte quarter, row, column, low, high, colour;
    const char *marks;
    volatile byte *out = TILES + (word)picture * 64;
    for (quarter = 0; quarter < 4; quarter++)
        for (row = 0; row < 8; row++) {
            marks = pictures[picture] + ((quarter >> 1) * 4 + (row >> 1)) * 8 + (quarter & 1) * 4;
            low = high = 0;
            for (column = 0; column < 4; column++) {
                colour = shade(marks[column]);
                low = (byte)(low << 2) | ((colour & 1) ? 3 : 0);
                high = (byte)(high << 2) | ((colour & 2) ? 3 : 0);
            }
            *out++ = low;
            *out++ = high;
        }
}

/* The screen's memory is closed while a line is drawn, and open again in between. */
static void put(byte column, byte row, byte picture) {
    volatile byte *at = SCREEN + ((word)row << 6) + (column << 1);
    byte tile = picture << 2;
    while (LCD_STATUS & 2);
    at[0] = tile;
    at[1] = tile + 1;
    while (LCD_STATUS & 2);
    at[32] = tile + 2;
    at[33] = tile + 3;
}

static byte room(void) {
    return (hero_x >= ROOM_WIDTH ? 1 : 0) + (hero_y >= ROOM_HEIGHT ? 2 : 0);
}

/* The top row shows what is carried; the room lies below it. */
static void show_cell(byte x, byte y) {
    byte picture = x == hero_x && y == hero_y ? HERO_UP + facing : CELL(x, y);
    if (x >= ROOM_WIDTH) x -= ROOM_WIDTH;
    if (y >= ROOM_HEIGHT) y -= ROOM_HEIGHT;
    put(x, y + 1, picture);
}

static void show_carried(void) {
    put(0, 0, has_key ? KEY : BLANK);
}

static void wait_for_picture(void) {
    INTERRUPTS_SEEN = 0;
    __asm__("halt\nnop");
}

static void screen_off(void) {
    wait_for_picture();
    LCD_CONTROL = 0;
}

static void screen_on(void) {
    LCD_CONTROL = 0x91;
}

static void show_room(void) {
    byte x, y, left, top;
    byte *from;
    shown_room = room();
    rooms_seen |= 1 << shown_room;
    left = shown_room & 1 ? ROOM_WIDTH : 0;
    top = shown_room & 2 ? ROOM_HEIGHT : 0;
    screen_off();
    for (x = 0; x < ROOM_WIDTH; x++) put(x, 0, BLANK);
    show_carried();
    for (y = 1; y <= ROOM_HEIGHT; y++, top++) {
        from = &CELL(left, top);
        for (x = 0; x < ROOM_WIDTH; x++) put(x, y, *from++);
    }
    show_cell(hero_x, hero_y);
    screen_on();
}

static void make_walls(void) {
    byte x, y;
    for (y = 0; y < 2 * ROOM_HEIGHT; y++)
        for (x = 0; x < WIDTH; x++)
            CELL(x, y) = x % ROOM_WIDTH == 0 || x % ROOM_WIDTH == ROOM_WIDTH - 1 ||
                         y % ROOM_HEIGHT == 0 || y % ROOM_HEIGHT == ROOM_HEIGHT - 1;
}

/* Passages are two cells wide; `near` is floor, or the locked door. */
static void passage_right(byte top, byte near) {
    byte y = top + 2 + random_below(ROOM_HEIGHT - 4);
    CELL(ROOM_WIDTH - 1, y) = CELL(ROOM_WIDTH - 1, y + 1) = near;
    CELL(ROOM_WIDTH, y) = CELL(ROOM_WIDTH, y + 1) = FLOOR;
}

static void passage_down(byte left, byte near) {
    byte x = left + 2 + random_below(ROOM_WIDTH - 4);
    CELL(x, ROOM_HEIGHT - 1) = CELL(x + 1, ROOM_HEIGHT - 1) = near;
    CELL(x, ROOM_HEIGHT) = CELL(x + 1, ROOM_HEIGHT) = FLOOR;
}

/* Somewhere not beside a wall, so nothing stands in a doorway. */
static void place(byte which, byte thing) {
    byte x = (which & 1 ? ROOM_WIDTH : 0) + 2 + random_below(ROOM_WIDTH - 4);
    byte y = (which & 2 ? ROOM_HEIGHT : 0) + 2 + random_below(ROOM_HEIGHT - 4);
    CELL(x, y) = thing;
}

static void start(void) {
    random_state = seed ? seed : 1;
    random_below(2);
    random_below(2);
    make_walls();
    passage_right(0, FLOOR);
    passage_down(0, FLOOR);
    if (random_below(2)) passage_right(ROOM_HEIGHT, LOCKED);
    else passage_down(ROOM_WIDTH, LOCKED);
    place(1 + random_below(2), KEY);
    place(3, CHEST);
    hero_x = 1 + random_below(ROOM_WIDTH - 2);
    hero_y = 1 + random_below(ROOM_HEIGHT - 2);
    facing = 2;
    has_key = door_open = chest_open = rooms_seen = 0;
    show_room();
    ready = 0x4B;
}

/* Bits: right, left, up, down, A, B, select, start. */
static byte buttons(void) {
    byte pressed;
    JOYPAD = 0x20;
    pressed = JOYPAD;
    pressed = ~JOYPAD & 0x0F;
    JOYPAD = 0x10;
    JOYPAD;
    JOYPAD;
    pressed |= (byte)(~JOYPAD << 4);
    JOYPAD = 0x30;
    return pressed;
}

static const signed char right_of[4] = {0, 1, 0, -1};
static const signed char down_of[4] = {-1, 0, 1, 0};

static void walk(byte direction) {
    byte old_x = hero_x, old_y = hero_y, thing;
    byte x = hero_x + right_of[direction], y = hero_y + down_of[direction];
    facing = direction;
    thing = CELL(x, y);
    if (thing == LOCKED && has_key) {
        door_open = 1;
        CELL(x, y) = OPENED;
    } else if (thing == FLOOR || thing == OPENED || thing == KEY) {
        hero_x = x;
        hero_y = y;
        if (thing == KEY) {
            has_key = 1;
            CELL(x, y) = FLOOR;
        }
    }
    if (room() != shown_room) {
        show_room();
        return;
    }
    wait_for_picture();
    show_cell(x, y);
    show_cell(old_x, old_y);
    show_carried();
}

static void use(void) {
    byte x = hero_x + right_of[facing], y = hero_y + down_of[facing];
    if (CELL(x, y) != CHEST) return;
    chest_open = 1;
    CELL(x, y) = EMPTY_CHEST;
    wait_for_picture();
    show_cell(x, y);
}

static void act(byte pressed) {
    if (pressed & 0x04) walk(0);
    else if (pressed & 0x01) walk(1);
    else if (pressed & 0x08) walk(2);
    else if (pressed & 0x02) walk(3);
    else if (pressed & 0x10) use();
    else if (pressed & 0x80) {
        seed += 1;
        new_game = 1;
    }
}

void main(void) {
    byte i, held;
    INTERRUPTS_ON = 1;
    screen_off();
    PALETTE = 0xE4;
    for (i = 0; i < PICTURES; i++) load_picture(i);
    held_before = 0;
    seed = 1;
    new_game = 1;
    screen_on();
    while (1) {
        wait_for_picture();
        if (new_game) {
            new_game = 0;
            start();
        }
        held = buttons();
        act(held & ~held_before);
        held_before = held;
    }
}
