"""US states and Canadian provinces by name, and countries by common English name and alpha-3 code.

Keys are lower case without spaces and punctuation, as the identity functions leave them.
"""

from __future__ import annotations

STATES: dict[str, str] = dict(
    pair.split(":")
    for pair in """
    alabama:al alaska:ak arizona:az arkansas:ar california:ca colorado:co connecticut:ct delaware:de florida:fl georgia:ga
    hawaii:hi idaho:id illinois:il indiana:in iowa:ia kansas:ks kentucky:ky louisiana:la maine:me maryland:md
    massachusetts:ma michigan:mi minnesota:mn mississippi:ms missouri:mo montana:mt nebraska:ne nevada:nv newhampshire:nh
    newjersey:nj newmexico:nm newyork:ny northcarolina:nc northdakota:nd ohio:oh oklahoma:ok oregon:or pennsylvania:pa
    rhodeisland:ri southcarolina:sc southdakota:sd tennessee:tn texas:tx utah:ut vermont:vt virginia:va washington:wa
    westvirginia:wv wisconsin:wi wyoming:wy districtofcolumbia:dc americansamoa:as guam:gu northernmarianaislands:mp
    puertorico:pr usvirginislands:vi
    alberta:ab britishcolumbia:bc manitoba:mb newbrunswick:nb newfoundlandandlabrador:nl newfoundland:nl
    northwestterritories:nt novascotia:ns nunavut:nu ontario:on princeedwardisland:pe quebec:qc québec:qc saskatchewan:sk
    yukon:yt yukonterritory:yt
    """.split()
)

COUNTRIES: dict[str, str] = dict(
    pair.split(":")
    for pair in """
    unitedstates:us unitedstatesofamerica:us usa:us america:us canada:ca can:ca mexico:mx mex:mx brazil:br bra:br
    argentina:ar arg:ar chile:cl chl:cl colombia:co col:co peru:pe per:pe unitedkingdom:gb uk:gb gbr:gb greatbritain:gb
    england:gb scotland:gb wales:gb ireland:ie irl:ie france:fr fra:fr germany:de deu:de deutschland:de austria:at aut:at
    österreich:at switzerland:ch che:ch schweiz:ch liechtenstein:li lie:li luxembourg:lu lux:lu belgium:be bel:be
    netherlands:nl nld:nl thenetherlands:nl holland:nl spain:es esp:es españa:es portugal:pt prt:pt italy:it ita:it
    italia:it malta:mt mlt:mt greece:gr grc:gr cyprus:cy cyp:cy denmark:dk dnk:dk sweden:se swe:se norway:no nor:no
    finland:fi fin:fi iceland:is isl:is estonia:ee est:ee latvia:lv lva:lv lithuania:lt ltu:lt poland:pl pol:pl
    czechia:cz czechrepublic:cz cze:cz slovakia:sk svk:sk hungary:hu hun:hu slovenia:si svn:si croatia:hr hrv:hr
    serbia:rs srb:rs bosniaandherzegovina:ba bih:ba montenegro:me mne:me northmacedonia:mk mkd:mk albania:al alb:al
    kosovo:xk romania:ro rou:ro bulgaria:bg bgr:bg moldova:md mda:md ukraine:ua ukr:ua belarus:by blr:by russia:ru rus:ru
    russianfederation:ru turkey:tr türkiye:tr turkiye:tr tur:tr georgia:ge geo:ge armenia:am arm:am azerbaijan:az aze:az
    kazakhstan:kz kaz:kz uzbekistan:uz uzb:uz israel:il isr:il palestine:ps pse:ps lebanon:lb lbn:lb jordan:jo jor:jo
    iraq:iq irq:iq iran:ir irn:ir saudiarabia:sa sau:sa unitedarabemirates:ae uae:ae are:ae qatar:qa qat:qa kuwait:kw
    kwt:kw bahrain:bh bhr:bh oman:om omn:om yemen:ye yem:ye egypt:eg egy:eg morocco:ma mar:ma algeria:dz dza:dz
    tunisia:tn tun:tn libya:ly lby:ly nigeria:ng nga:ng ghana:gh gha:gh kenya:ke ken:ke ethiopia:et eth:et tanzania:tz
    tza:tz uganda:ug uga:ug southafrica:za zaf:za senegal:sn sen:sn ivorycoast:ci civ:ci cameroon:cm cmr:cm india:in
    ind:in pakistan:pk pak:pk bangladesh:bd bgd:bd srilanka:lk lka:lk nepal:np npl:np china:cn chn:cn hongkong:hk hkg:hk
    macau:mo mac:mo taiwan:tw twn:tw japan:jp jpn:jp southkorea:kr korea:kr republicofkorea:kr kor:kr mongolia:mn mng:mn
    vietnam:vn vnm:vn thailand:th tha:th cambodia:kh khm:kh laos:la lao:la myanmar:mm mmr:mm malaysia:my mys:my
    singapore:sg sgp:sg indonesia:id idn:id philippines:ph phl:ph australia:au aus:au newzealand:nz nzl:nz fiji:fj fji:fj
    cuba:cu cub:cu dominicanrepublic:do dom:do jamaica:jm jam:jm haiti:ht hti:ht panama:pa pan:pa costarica:cr cri:cr
    guatemala:gt gtm:gt honduras:hn hnd:hn elsalvador:sv slv:sv nicaragua:ni nic:ni venezuela:ve ven:ve ecuador:ec ecu:ec
    bolivia:bo bol:bo paraguay:py pry:py uruguay:uy ury:uy
    """.split()
)
