-- Every account of every source, with the person it belongs to.
--
-- Accounts with the same e-mail address, compared without letter case and surrounding blanks, are one person. An Open edX account belongs to the person
-- of the application's account that names it, since its own address is not kept up to date. An account without an address is a person of its own.
-- The person's key is a hash of the best-ranked account, so it survives a change of address there.
with openedx_owners as (
  select openedx_user_id, min(user_id) as user_id
  from {{ ref('int__mitxonline__users') }}
  where openedx_user_id is not null
  group by openedx_user_id
),

accounts as (
  select
    'mitxonline' as account_source,
    1 as account_rank,
    'mitxonline' as platform,
    user_id as account_id,
    user_email_identity,
    coalesce('email ' || user_email_identity, 'mitxonline ' || cast(user_id as varchar)) as identity,
    user_full_name,
    user_address_country,
    user_is_active,
    user_joined_on
  from {{ ref('int__mitxonline__users') }}

  union all

  select
    'mitxonline_openedx',
    2,
    'mitxonline',
    openedx_users.openedx_user_id,
    case when owners.user_id is null then {{ email_identity('openedx_users.user_email') }} else owners.user_email_identity end,
    case
      when owners.user_id is null
        then coalesce('email ' || {{ email_identity('openedx_users.user_email') }}, 'mitxonline_openedx ' || cast(openedx_users.openedx_user_id as varchar))
      else coalesce('email ' || owners.user_email_identity, 'mitxonline ' || cast(owners.user_id as varchar))
    end,
    openedx_users.user_full_name,
    cast(null as varchar),
    openedx_users.user_is_active,
    openedx_users.user_joined_on
  from {{ ref('stg__mitxonline__openedx__mysql__auth_user') }} as openedx_users
  left join openedx_owners on openedx_owners.openedx_user_id = openedx_users.openedx_user_id
  left join {{ ref('int__mitxonline__users') }} as owners on owners.user_id = openedx_owners.user_id

  union all

  select
    'mitxpro',
    3,
    'xpro',
    users.user_id,
    {{ email_identity('users.user_email') }},
    coalesce('email ' || {{ email_identity('users.user_email') }}, 'mitxpro ' || cast(users.user_id as varchar)),
    users.user_full_name,
    addresses.user_address_country,
    users.user_is_active,
    users.user_joined_on
  from {{ ref('stg__mitxpro__app__postgres__users_user') }} as users
  left join {{ ref('stg__mitxpro__app__postgres__users_legaladdress') }} as addresses on addresses.user_id = users.user_id
),

best_ranked as (
  select
    *,
    first_value(account_source) over best as identity_source,
    first_value(account_id) over best as identity_id
  from accounts
  window best as (partition by identity order by account_rank, account_id)
)

select
  account_source,
  account_id,
  account_rank,
  platform,
  account_source <> 'mitxonline_openedx' as account_is_application,   -- the account that enrolments and orders name
  {{ surrogate_key(['identity_source', 'identity_id']) }} as user_key,
  user_email_identity,
  user_full_name,
  user_address_country,
  user_is_active,
  user_joined_on
from best_ranked
