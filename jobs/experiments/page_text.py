"""What an experiment's page says in words, and its styles beside those of the quality page."""

REPLAY_NOTE = (
    "These are recorded purchases played again, not a live test: nobody saw these lists. A slot counts as "
    "clicked if its item is in the real basket of that trip. Purchases can therefore not be caused by what "
    "is shown: baskets and their revenue differ by chance only, and clicks tell how well a list foresees a "
    "basket."
)
SRM_NOTE = (
    "Look here first. If the arms do not hold the users that their shares plan (p below 0.001), something "
    "but chance decides who is in which arm, and no figure below can be trusted."
)
LIFT_NOTE = (
    "Relative lift over the control, by user. Brackets hold 95 % intervals; bold is where the interval "
    "leaves 0 out. In the plot a dot is the lift with CUPED where there is one, the thick bar its interval "
    "for one look at the end, the thin one is always valid; an arrow head says that it goes on outside."
)
SIDE_BY_SIDE_NOTE = (
    "Every arm was shown for each trip, to testers: nobody is assigned, and trips and shoppers are the same "
    "under each arm, so the intervals are narrow. No live test can do this, as a shopper sees one page."
)
BY_DAY_NOTE = (
    "All outcomes up to the end of each day, with the always-valid band. The first days' bands may run out "
    "of the picture. The experiment may end on the first day that the band leaves 0."
)
SEGMENT_NOTE = "Where to look next, not what to ship: of many parts, some stand out by chance."
FUNNEL_NOTE = "What was shown and what came of it; bars are for each user of the arm where those are counted."
LATENCY_NOTE = "Half of the answers took at most p50, 95 of 100 at most p95, 99 of 100 at most p99."
OFF_POLICY_NOTE = (
    "Clicks of an answer's drawn slots, estimated from draws whose chances were logged. Only what is named "
    "as served was shown to anybody. Few effective answers mean that the estimate hangs on a few logged ones."
)
REJECTED_NOTE = "Outcomes, answers and users that count for no arm, by reason."
HOW_TO_READ = {
    "Why users of each arm come first": (
        "Arms are compared because chance alone put users into them. When one lacks users (a crash, a "
        "filter, an answer too slow to be logged), those who are left differ, and the difference looks like "
        "a lift. The check is a chi-squared test of a sample ratio mismatch (SRM); Fabijan et al. 2019."
    ),
    "Fixed horizon": (
        "A 95 % interval for one look, at an end that was set before. Who looks each day and stops at the "
        "first good one is misled far more often than 1 time in 20."
    ),
    "Always valid": (
        "An interval that holds at all looks at once: however often one looks, and whenever one stops, it "
        "misses the true lift in no more than about 1 of 20 experiments. That costs width. The verdict goes "
        "by it. "
        "Johari, Pekelis and Walsh 2017; Waudby-Smith et al. 2021."
    ),
    "CUPED": (
        "What users bought before the experiment foretells part of what they do in it. CUPED takes that "
        "part out of both arms alike: the lift keeps its meaning, its interval narrows. It gains nothing "
        "where the past tells nothing. Deng, Xu, Kohavi and Walker 2013."
    ),
    "By user": (
        "Each metric is a ratio of two sums over users. A user's answers resemble each other, so intervals "
        "count users, not answers (delta method; Deng, Knoblich and Lu 2018)."
    ),
    "Adjusted p": (
        "Of many comparisons some look good by chance. The adjusted p allows for all that were made; judge "
        "what is not the primary metric by it."
    ),
}

STYLE = """
.band { padding: 1.5rem; border-radius: 12px; color: white; background: #374151; }
.band.ship { background: #0f766e; }
.band.stop { background: #b91c1c; }
.band.run { background: #1d4ed8; }
.band p { max-width: 60rem; margin: 0; color: inherit; font-size: .92rem; overflow-wrap: anywhere; }
.band h1 { margin: .1rem 0 .5rem; font-size: 2.4rem; }
.band p strong { display: block; margin-bottom: .6rem; font-size: 1.1rem; font-weight: 600; }
.replay { margin-top: 1.5rem; padding: 1.1rem 1.5rem; border: 2px solid #b45309; border-radius: 12px;
  background: #fffbeb; color: #78350f; }
.cards { margin-top: 1.5rem; }
.card { overflow-wrap: anywhere; }
tbody th { min-width: 8rem; color: var(--ink); font-weight: 400; overflow-wrap: anywhere; }
tr.group th { padding-top: 1rem; background: var(--wash); font-weight: 600; }
tr.group th span { position: sticky; left: .6rem; display: inline-block; max-width: min(100%, 75vw); }
tr.group th small { display: block; }
td, tbody th { vertical-align: top; }
table { border-collapse: separate; border-spacing: 0; }
td.better { font-weight: 700; color: var(--strong); }
td.worse { font-weight: 700; color: #b91c1c; }
.plot svg { min-width: 35rem; max-width: 56rem; margin-bottom: 1.2rem; }
summary { cursor: pointer; color: var(--strong); }
dl { max-width: 46rem; margin: 0; }
dt { font-weight: 600; }
dd { margin: 0 0 1rem; color: var(--pale); }
@media (max-width: 600px) {
  .band, .replay { padding: 1rem; }
  .band h1 { font-size: 1.8rem; }
}
"""
